"""`udpprobe exporter`: probes targets for a Prometheus server."""

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Annotated

from typer import Option, echo

from udpprobe.cli import options as opt
from udpprobe.core.targets import parse_target
from udpprobe.errors import UsageError
from udpprobe.interrupt import was_terminated

if TYPE_CHECKING:
    from udpprobe.commands.exporter import Module, Network

LISTEN = "127.0.0.1:9843"

EXAMPLES = """\
/probe?target=HOST:PORT&module=NAME probes, /metrics is about the exporter itself, /-/healthy is a health check. Modules
are answered, listening, not-refused, refused, and the [templates] of --config. Of a name's addresses, the system's
first choice.

\b
Examples:
  udpprobe exporter
  udpprobe exporter --listen 0.0.0.0:9843 --allow 192.0.2.0/24,2001:db8::/32
  udpprobe exporter --allow 10.0.0.0/8 --config my.toml --listen [::]:9843
  curl 'http://127.0.0.1:9843/probe?target=192.0.2.1:53&module=answered'
"""


def exporter(
    *,
    allow: Annotated[
        list[str] | None,
        Option(
            metavar="NETWORK[,NETWORK]",
            help="Networks whose hosts may be probed; others get 403. May be repeated. "
            "Required if other hosts can connect.",
        ),
    ] = None,
    listen: Annotated[str, Option(metavar="ADDRESS:PORT", help="Where to listen (TCP).")] = LISTEN,
    config: Annotated[
        str | None, Option(metavar="FILE.toml", help="Its [templates] are modules, as in check --config.")
    ] = None,
    timeout: Annotated[
        float, opt.time_limit("Time limit of a probe, in seconds; less if Prometheus says so.", least_s=1)
    ] = 10,
    wait: opt.Wait = 1,
    retries: opt.Retries = 2,
    at_once: Annotated[int, Option(min=1, max=64, metavar="N", help="Probes at the same time.")] = 16,
    engine: opt.EngineOption = None,
) -> None:
    """Serve Prometheus: probe the targets that it names, as the blackbox exporter does, and report the results."""
    where = _where(listen)
    networks = tuple(
        _network(word.strip()) for words in allow or _default_networks(where[0]) for word in words.split(",")
    )
    from udpprobe.commands.check import Settings  # noqa: PLC0415 - help does without the core
    from udpprobe.commands.exporter import MODULES, ExporterOptions, MetricsServer  # noqa: PLC0415 - as above
    from udpprobe.linux.hostfacts import has_net_raw  # noqa: PLC0415 - as above

    if engine is None and not has_net_raw():
        echo(
            "udpprobe: warning: raw sockets are not allowed (CAP_NET_RAW): no module can check path MTUs or name a "
            "loop's routers",
            err=True,
        )
    settings = Settings(timeout_s=timeout, silence_s=wait, retries=retries, engine=engine.value if engine else "auto")
    with MetricsServer(ExporterOptions(where, networks, {**MODULES, **_modules(config)}, settings, at_once)) as server:
        echo(f"udpprobe exporter: listens on {server.url}", err=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            if not was_terminated():  # SIGTERM is the normal way to stop a daemon
                raise


def _modules(path: str | None) -> dict[str, "Module"]:
    if path is None:
        return {}
    from udpprobe.checking.config import read_templates  # noqa: PLC0415 - pydantic comes with it

    return read_templates(path)


def _default_networks(host: str) -> list[str]:
    """Who may be probed without `--allow`: anyone, but only for this host, which could send its datagrams itself."""
    if not _is_loopback(host):
        raise UsageError(f"--allow: name the networks that may be probed, because other hosts can connect to {host}")
    return ["0.0.0.0/0,::/0"]


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _network(text: str) -> "Network":
    try:
        return ip_network(text)
    except ValueError as error:
        raise UsageError(f"--allow: {error}") from None


def _where(text: str) -> tuple[str, int]:
    wrong = UsageError(f"--listen {text}: give ADDRESS:PORT, as in {LISTEN}, or 0.0.0.0:9843 for all")
    try:
        target = parse_target(text)
    except UsageError:
        raise wrong from None
    if target.ports is None or sum(map(len, target.ports)) != 1 or "/" in text:
        raise wrong
    return text.rpartition(":")[0].strip("[]"), target.ports[0].start
