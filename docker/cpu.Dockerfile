# docker build -f docker/cpu.Dockerfile -t robo_reward:cpu .
# docker run --rm -v robo_reward_runs:/robo_reward/runs robo_reward:cpu train experiment=smoke
ARG BASE=python:3.11.13-slim-bookworm
FROM ${BASE}
WORKDIR /robo_reward
COPY docker/install.sh docker/install.sh
RUN docker/install.sh full && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home robo && mkdir runs && chown -R robo:robo /robo_reward
USER robo
# The whole checkout: the links inside robo_reward/ need their targets beside it.
COPY --chown=robo:robo . .
RUN make setup PYTHON=python3
VOLUME /robo_reward/runs
ENV MUJOCO_GL=egl PATH=/robo_reward/.venv/bin:$PATH
HEALTHCHECK --interval=60s --timeout=20s CMD ["robo-reward", "--version"]
ENTRYPOINT ["robo-reward"]
CMD ["train"]
