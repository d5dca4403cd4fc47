# docker build -f docker/gpu.Dockerfile -t robo_reward:gpu .
# docker run --rm --gpus all -v robo_reward_runs:/robo_reward/runs robo_reward:gpu doctor
# The CUDA libraries come with torch's wheels; the base brings what the driver's container toolkit looks for.
ARG BASE=nvidia/cuda:12.8.1-base-ubuntu24.04
FROM ${BASE}
WORKDIR /robo_reward
COPY docker/install.sh docker/install.sh
RUN docker/install.sh full && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home robo && mkdir runs && chown -R robo:robo /robo_reward
USER robo
COPY --chown=robo:robo . .
RUN make setup PYTHON=python3 LOCK=requirements/lock-cuda-py312.txt
VOLUME /robo_reward/runs
ENV MUJOCO_GL=egl NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics PATH=/robo_reward/.venv/bin:$PATH
HEALTHCHECK --interval=60s --timeout=20s CMD ["robo-reward", "--version"]
ENTRYPOINT ["robo-reward"]
CMD ["train"]
