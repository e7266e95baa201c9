"""Reports to a Prometheus server what happens to datagrams to its targets, as the blackbox exporter does.

https://prometheus.io/docs/guides/multi-target-exporter/
"""

from __future__ import annotations

import errno
import resource
import socket
import sys
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Network, IPv6Network, ip_address
from urllib.parse import parse_qs, urlsplit

import prometheus_client as prometheus
from msgspec import Struct
from msgspec.structs import replace

from udpprobe import __version__
from udpprobe.checking.expectations import Check, Expectation, Probing, target_with_port
from udpprobe.checking.states import ON_SILENCE, Checked, unchecked
from udpprobe.commands.check import Settings, check, wanted_of
from udpprobe.core.addresses import address_text
from udpprobe.core.targets import Block, TargetSpec
from udpprobe.errors import UdpprobeError, UsageError
from udpprobe.reports.metrics import probe_text
from udpprobe.targets import resolve

Network = IPv4Network | IPv6Network
Module = tuple[Expectation, Probing]

MODULES: Mapping[str, Module] = {name: (Expectation(name), Probing()) for name in ON_SILENCE}
"""The modules without a file of templates."""
CONNECTIONS = 64
"""Connections at a time. For another one, the oldest without a complete request is closed; if there is none, it gets
503."""
PROBE_DESCRIPTORS = 32
"""Descriptors of a probe: at most 17 source ports (`pmtud.rounds.FLOWS`, and the control port's), and sockets to send
and receive. 19 each were counted with 16 at once."""
OTHER_DESCRIPTORS = CONNECTIONS + 64
FULL = b"HTTP/1.0 503 Service Unavailable\r\nContent-Type: text/plain\r\n\r\ntoo many connections\n"
REMEMBERED = 4096
"""Targets with error counters; beyond that, the counters of the least recently probed one are reset."""
ROOM_S = 1
"""Time for a closed connection to end."""
NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
SLOW_S = 10
"""Time for a client to send its request."""
MARGIN_S = 0.5
"""Part of Prometheus's time limit reserved for the response."""


class ExporterOptions(Struct, frozen=True):
    """How to serve."""

    listen: tuple[str, int]
    """Address and TCP port."""
    allowed: tuple[Network, ...]
    """Only addresses in these networks are probed: an exporter must not be anyone's port scanner."""
    modules: Mapping[str, Module]
    settings: Settings
    at_once: int = 16
    """Probes at a time."""


class RejectedRequest(Exception):  # noqa: N818 - an answer, not an error
    """A request that gets an error response."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class ProbeService:
    """Answers requests by URL, from any thread.

    Args:
        options: how.
    """

    def __init__(self, options: ExporterOptions) -> None:
        self._options = options
        self._places = threading.BoundedSemaphore(min(options.at_once, places()))
        self._tally = Tally()
        prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's
        self._registry = prometheus.CollectorRegistry()
        for collector in (prometheus.ProcessCollector, prometheus.PlatformCollector, prometheus.GCCollector):
            collector(registry=self._registry)
        self._results = prometheus.Counter(
            "udpprobe_exporter_probes", "Probes by outcome.", ("module", "result"), registry=self._registry
        )
        self._running = prometheus.Gauge(
            "udpprobe_exporter_probes_in_progress", "Probes in progress.", registry=self._registry
        )
        prometheus.Gauge(
            "udpprobe_build_info", "Always 1; the version is a label.", ("version",), registry=self._registry
        ).labels(__version__).set(1)

    def metrics(self, _query: Mapping[str, list[str]], _timeout_s: float) -> bytes:
        """Metrics of the exporter itself."""
        return prometheus.generate_latest(self._registry)

    def probe(self, query: Mapping[str, list[str]], timeout_s: float) -> bytes:
        """Metrics of a target.

        Raises:
            RejectedRequest: it may not be probed.
        """
        module = _one(query, "module", "answered")
        if module not in self._options.modules:
            raise RejectedRequest(HTTPStatus.BAD_REQUEST, f"no such module; use {', '.join(self._options.modules)}")
        limit_s = time.monotonic() + timeout_s
        try:
            with self._place(timeout_s / 2):
                start_s = time.monotonic()
                found = self._found(text := _one(query, "target"), self._options.modules[module], limit_s)
        except RejectedRequest as refusal:
            self._results.labels(module, refusal.status.phrase).inc()
            raise
        self._results.labels(module, found.state).inc()
        return probe_text(found, time.monotonic() - start_s, self._tally.add((module, text), found))

    def _found(self, text: str, module: Module, limit_s: float) -> Checked:
        try:
            wanted = self._check_of(text, *module)
        except UdpprobeError as error:  # a failed probe is a result to alert on, not a failure of the exporter
            return unchecked(text, None, str(error))
        remaining_s = max(limit_s - time.monotonic(), MARGIN_S)
        try:
            return check([wanted], replace(self._options.settings, timeout_s=remaining_s)).checks[0]
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            raise RejectedRequest(HTTPStatus.SERVICE_UNAVAILABLE, f"cannot start a probe: {error.strerror}") from None

    @contextmanager
    def _place(self, wait_s: float) -> Iterator[None]:
        if not self._places.acquire(timeout=wait_s):
            raise RejectedRequest(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "too many probes in progress; see --at-once, and the limit on descriptors (ulimit -n)",
            )
        try:
            with self._running.track_inprogress():
                yield
        finally:
            self._places.release()

    def _check_of(self, text: str, expectation: Expectation, probing: Probing) -> Check:
        """The one address to probe, resolved once, so that the address that was allowed is the one that is probed."""
        try:
            target = target_with_port(text)
            guard_single(target)
            place = resolve([target], [], wanted_of(probing)).destinations
        except UsageError as error:
            raise RejectedRequest(HTTPStatus.BAD_REQUEST, str(error)) from None
        high, low, zone = (int(each[0]) for each in (place.high, place.low, place.zone))
        if not is_allowed(address_text(high, low), self._options.allowed):
            raise RejectedRequest(HTTPStatus.FORBIDDEN, "this target is in none of the --allow networks")
        return Check(text, replace(target, host=Block(high << 64 | low, zone=str(zone or ""))), expectation, probing)


def places() -> int:
    """Number of probes at a time that the descriptor limit allows, after raising it as far as possible."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # a system-wide limit may be lower
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return max((soft - OTHER_DESCRIPTORS) // PROBE_DESCRIPTORS, 1)


def guard_single(target: TargetSpec) -> None:
    """Check that a target is one host and one port.

    Raises:
        UsageError: it is more.
    """
    hosts = 1 if isinstance(target.host, str) else target.host.size
    if hosts * sum(map(len, target.ports or ())) != 1:
        raise UsageError("the target is more than one destination")


def is_allowed(address: str, networks: Iterable[Network]) -> bool:
    """Whether an address is in one of the networks."""
    return any(ip_address(address) in network for network in networks)


def _one(query: Mapping[str, list[str]], name: str, default: str | None = None) -> str:
    found = query.get(name, [] if default is None else [default])
    if len(found) != 1:
        raise RejectedRequest(HTTPStatus.BAD_REQUEST, f"give {name}= once, as in /probe?target=192.0.2.1:53")
    return found[0]


class Tally:
    """ICMP errors of each target since its first probe; used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: OrderedDict[tuple[str, str], Counter[tuple[int, int, int]]] = OrderedDict()

    def add(self, key: tuple[str, str], found: Checked) -> Mapping[tuple[int, int, int], int]:
        """Count a check's errors, and return the target's totals."""
        with self._lock:
            counts = self._counts.setdefault(key, Counter())
            self._counts.move_to_end(key)
            if len(self._counts) > REMEMBERED:
                self._counts.popitem(last=False)
            for each in found.findings:
                if each.icmp_type is not None and each.icmp_code is not None:
                    counts[each.family, each.icmp_type, each.icmp_code] += each.count
            return dict(counts)


class MetricsServer(ThreadingHTTPServer):
    """Listens; `serve_forever` serves.

    Args:
        options: how.

    Raises:
        UdpprobeError: it cannot listen there.
    """

    daemon_threads = True
    request_queue_size = 128
    """Connections that the kernel queues until they are accepted."""

    def __init__(self, options: ExporterOptions) -> None:
        host, port = options.listen
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.timeout_s = options.settings.timeout_s
        prober = ProbeService(options)
        self.pages: Mapping[str, Callable[[Mapping[str, list[str]], float], bytes]] = {
            "/probe": prober.probe,
            "/metrics": prober.metrics,
            "/-/healthy": lambda _query, _timeout_s: b"Healthy\n",
        }
        self._connections = threading.BoundedSemaphore(CONNECTIONS)
        self.silent: dict[Handler, None] = {}
        """Connections without a complete request, oldest first."""
        try:
            # getaddrinfo handles the zone of a link-local address; bind itself does not
            where = socket.getaddrinfo(host, port, self.address_family, socket.SOCK_STREAM)[0][4]
            super().__init__(where, Handler)  # type: ignore[arg-type]  # a pair is typeshed's guess
        except OSError as error:
            raise UdpprobeError(f"cannot listen on {host}, TCP port {port}: {error.strerror or error}") from error

    @property
    def url(self) -> str:
        """Its address."""
        host, port = self.server_address[:2]
        return f"http://[{host!s}]:{port}" if self.address_family == socket.AF_INET6 else f"http://{host!s}:{port}"

    def process_request(self, request: socket.socket, client_address: tuple[str, int]) -> None:  # type: ignore[override]  # of TCP
        """Serve a connection in a thread; if there are too many, a slow client must not keep it out."""
        if not self._connections.acquire(blocking=False):
            with suppress(StopIteration, RuntimeError, KeyError):  # there is none, or another thread was faster
                slowest = next(iter(self.silent))
                del self.silent[slowest]
                slowest.hang_up()
            if not self._connections.acquire(timeout=ROOM_S):
                with suppress(OSError):
                    request.send(FULL)
                self.shutdown_request(request)
                return
        super().process_request(request, client_address)

    def process_request_thread(self, request: socket.socket, client_address: tuple[str, int]) -> None:  # type: ignore[override]  # as above
        """Serve it, then make room."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that go away; report everything else on standard error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # of TCP


class Handler(BaseHTTPRequestHandler):
    """A connection."""

    timeout = SLOW_S
    server: MetricsServer
    server_version = "udpprobe"
    sys_version = ""

    def setup(self) -> None:
        """Set the client's deadline: `timeout` alone restarts with every byte."""
        super().setup()
        self._patience = threading.Timer(SLOW_S, self.hang_up)
        self._patience.daemon = True
        self._patience.start()
        self.server.silent[self] = None

    def finish(self) -> None:
        """The connection is over."""
        self._cancel_deadline()
        super().finish()

    def _cancel_deadline(self) -> None:
        self._patience.cancel()
        self.server.silent.pop(self, None)

    def hang_up(self) -> None:
        """Close a connection whose client sends no request."""
        with suppress(OSError):  # the client was faster
            self.connection.shutdown(socket.SHUT_RDWR)

    def do_GET(self) -> None:
        """Answer."""
        self._cancel_deadline()
        try:
            self._say(HTTPStatus.OK, self._page())
        except RejectedRequest as refusal:
            self._say(refusal.status, f"{refusal}\n".encode())

    do_HEAD = do_GET  # noqa: N815 - the library's name

    def _page(self) -> bytes:
        try:
            url = urlsplit(self.path)
        except ValueError as error:
            raise RejectedRequest(HTTPStatus.BAD_REQUEST, str(error)) from None
        page = self.server.pages.get(url.path)
        if page is None:
            raise RejectedRequest(HTTPStatus.NOT_FOUND, f"there are {', '.join(self.server.pages)}")
        return page(parse_qs(url.query), self._timeout_s())

    def _timeout_s(self) -> float:
        """Prometheus's time limit, at most our own."""
        try:
            given_s = float(self.headers.get("X-Prometheus-Scrape-Timeout-Seconds", "")) - MARGIN_S
        except ValueError:
            return self.server.timeout_s
        return min(max(MARGIN_S, given_s), self.server.timeout_s)

    def _say(self, status: HTTPStatus, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log no requests: the Prometheus server does."""
