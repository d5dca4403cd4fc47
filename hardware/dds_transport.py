"""Topics over DDS without a ROS installation: the wire protocol of ROS 2, from the `cyclonedds` package.

Loopback by default. DDS knows no passwords: whoever reaches the interface can move the arm, so any other interface
must be named twice, once as the interface and once as trusted.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable
from typing import Any

try:
    from cyclonedds.core import GuardCondition, InstanceState, ReadCondition, SampleState, ViewState, WaitSet
    from cyclonedds.domain import Domain, DomainParticipant
    from cyclonedds.idl import make_idl_struct
    from cyclonedds.idl.types import uint8
    from cyclonedds.pub import DataWriter
    from cyclonedds.qos import Policy
    from cyclonedds.qos import Qos as DdsQos
    from cyclonedds.sub import DataReader
    from cyclonedds.topic import Topic
    from cyclonedds.util import duration
except ModuleNotFoundError as error:  # pragma: no cover - exercised by the install tests
    raise ModuleNotFoundError("the DDS transport needs: pip install 'robo-reward[robot]'", name="cyclonedds") from error

from robo_reward.hardware.messages import Message
from robo_reward.hardware.transport import Qos, Send, Transport

LOOPBACK = "127.0.0.1"
DOMAINS = 101
"""Largest domain number whose ports lie below those that the system hands out."""
_DOMAINS: dict[int, tuple[str, Any, int]] = {}
"""Joined domains of this process: interface, the library's object, how many transports use it."""


class DdsTransport(Transport):
    """A node in a DDS domain. One thread waits for messages and puts them into the inboxes."""

    def __init__(self, domain: int = 0, interface: str = LOOPBACK, trusted_interface: str = "") -> None:
        """Join the domain.

        Args:
            domain: 0 to 101, ROS 2's ROS_DOMAIN_ID.
            interface: address or name of the network interface.
            trusted_interface: the same once more, unless it is the loopback: "everybody there may move this robot".

        Raises:
            ValueError: a domain out of range, an interface that was not trusted, or a domain that this process has
                joined on another interface.
        """
        super().__init__()
        _join(domain, check_interface(interface, trusted_interface))
        self._domain, self._entities = domain, list[Any]()
        self._participant = self._keep(DomainParticipant(domain))
        self._wake = self._keep(GuardCondition(self._participant))
        self._waitset = self._keep(WaitSet(self._participant))
        self._waitset.attach(self._wake)
        self._readers: dict[str, tuple[Any, Callable[[bytes], None]]] = {}
        self._writers: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._receive, name=f"dds-{domain}", daemon=True)
        self._thread.start()

    def _open_writer(self, topic: str, kind: type[Message], qos: Qos) -> Send:
        sample_type = _sample_type(kind.ros)
        wire = self._keep(Topic(self._participant, f"rt/{topic}", sample_type))
        writer = self._keep(DataWriter(self._participant, wire, _qos(qos, offer=True)))
        self._writers[topic] = writer
        return lambda data: writer.write(sample_type.deserialize(data))

    def _open_reader(self, topic: str, kind: type[Message], qos: Qos, deliver: Callable[[bytes], None]) -> None:
        wire = self._keep(Topic(self._participant, f"rt/{topic}", _sample_type(kind.ros)))
        reader = self._keep(DataReader(self._participant, wire, _qos(qos, offer=False)))
        unread = self._keep(ReadCondition(reader, SampleState.Any | ViewState.Any | InstanceState.Any))
        self._readers = {**self._readers, topic: (reader, deliver)}  # the thread iterates over the old one
        self._waitset.attach(unread)

    def _receive(self) -> None:
        while not self._closed:
            self._waitset.wait(duration(seconds=1))
            for reader, deliver in self._readers.values():
                for sample in reader.take(64):
                    if sample.sample_info.valid_data:  # false: a publisher went away, there is no message
                        deliver(sample.data)

    def _peers(self, topic: str) -> int:
        peers = 0
        if topic in self._writers:
            peers += self._writers[topic].get_publication_matched_status().current_count
        if topic in self._readers:
            peers += self._readers[topic][0].get_subscription_matched_status().current_count
        return peers - 2 * (topic in self._writers and topic in self._readers)  # itself, from both sides

    def _close(self) -> None:
        self._wake.set(True)
        self._thread.join()
        for entity in reversed(self._entities):
            entity.__del__()  # the library's only way to delete now; once deleted, it does nothing the next time
        self._entities.clear()
        _leave(self._domain)

    def _keep(self, entity: Any) -> Any:
        self._entities.append(entity)
        return entity


def check_interface(interface: str, trusted_interface: str) -> str:
    """The interface, or ValueError when it is neither the loopback nor named as trusted."""
    if not re.fullmatch(r"[\w.:-]+", interface):
        raise ValueError(f"interface {interface!r}: write an address or a name, such as {LOOPBACK} or eth0")
    if interface not in (LOOPBACK, "lo") and trusted_interface != interface:
        raise ValueError(
            f"interface {interface} is not the loopback, and DDS is unauthenticated: whoever reaches it can move the "
            f"robot; write trusted_interface={interface} as well if that is meant"
        )
    return LOOPBACK if interface == "lo" else interface


def _join(domain: int, interface: str) -> None:
    """Configure a domain for the first transport in it; the others share it."""
    if not 0 <= domain <= DOMAINS:
        raise ValueError(f"domain {domain}: choose 0 to {DOMAINS}")
    opened, library, users = _DOMAINS.get(domain) or (interface, Domain(domain, _configuration(interface)), 0)
    if opened != interface:
        raise ValueError(f"domain {domain} is open on {opened} in this process, not on {interface}")
    _DOMAINS[domain] = opened, library, users + 1


def _leave(domain: int) -> None:
    """Close the domain behind its last transport: one that stayed would remember peers as lost and not greet them."""
    interface, library, users = _DOMAINS.pop(domain)
    if users > 1:
        _DOMAINS[domain] = interface, library, users - 1
    else:
        library.__del__()


def _configuration(interface: str) -> str:
    loopback = interface == LOOPBACK
    which = "address" if re.fullmatch(r"[\d.]+|.*:.*", interface) else "name"
    alone = 'multicast="false"' if loopback else ""
    multicast = "<AllowMulticast>false</AllowMulticast>" if loopback else ""
    # Without multicast whoever missed the greeting waits for the next one, by default half a minute.
    peers = f'<Peers><Peer address="{LOOPBACK}"/></Peers><SPDPInterval>2s</SPDPInterval>' if loopback else ""
    return f"""<CycloneDDS><Domain>
      <General>
        <Interfaces><NetworkInterface {which}="{interface}" {alone}/></Interfaces>
        {multicast}<MaxMessageSize>65500B</MaxMessageSize>
      </General>
      <Discovery>{peers}<ParticipantIndex>auto</ParticipantIndex></Discovery>
    </Domain></CycloneDDS>"""


@functools.cache
def _sample_type(ros: str) -> Any:
    """A type of the library with the right name but our bytes in `data`, because its own codec takes tens of
    milliseconds for an image. It insists on a member and checks the bytes against it: a single byte, which every
    message has. The member carries the type's name because types of equal members match, whatever they are called."""
    package, _, name = ros.split("/")
    sample_type: Any = make_idl_struct(name, f"{package}::msg::dds_::{name}_", {f"{package}_{name}": uint8})

    def holding(cls: Any, data: bytes | bytearray, *_: Any, **__: Any) -> Any:
        sample = cls(0)
        sample.data = data
        return sample

    sample_type.serialize = lambda sample, *_, **__: sample.data
    sample_type.deserialize = sample_type.deserialize_key = classmethod(holding)
    return sample_type


def _qos(qos: Qos, offer: bool) -> Any:
    policies = [
        Policy.Reliability.Reliable(duration(milliseconds=100)) if qos.reliable else Policy.Reliability.BestEffort,
        Policy.Durability.TransientLocal if qos.latched else Policy.Durability.Volatile,
        Policy.History.KeepLast(qos.depth),
    ]
    if offer and qos.deadline_s is not None:
        policies.append(Policy.Deadline(duration(seconds=qos.deadline_s)))
    return DdsQos(*policies)
