"""Targets in a TOML file, and what is expected of them: per target, group, template, and by default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from udpprobe.checking.expectations import (
    Check,
    CheckState,
    Expectation,
    Probing,
    Range,
    parse_range,
    target_with_port,
)
from udpprobe.core.targets import TargetSpec
from udpprobe.errors import UdpprobeError, UsageError, meant
from udpprobe.toml import keys_of, line_of, parse_toml, read_toml, reason_of


def _range(value: object) -> Range:
    try:
        return parse_range(str(value))
    except UsageError as error:
        raise ValueError(error) from None


def _target(value: object) -> TargetSpec:
    try:
        return target_with_port(str(value))
    except UsageError as error:
        raise ValueError(error) from None


_Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
"""Without NUL, which no file or interface name contains."""


class _CommonSettings(BaseModel):
    """Settings that defaults, templates, groups and targets have in common."""

    model_config = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)

    expect: Literal["answered", "listening", "not-refused", "refused"] | None = None
    silence: Literal["ok", "warning", "critical"] | None = None
    warning: Annotated[Range | None, BeforeValidator(_range)] = None
    critical: Annotated[Range | None, BeforeValidator(_range)] = None
    min_mtu: Annotated[int, Field(ge=0, le=65_575)] | None = None
    no_loop: bool | None = None
    payload: _Text | None = None
    family: Literal[4, 6] | None = None
    allow_broadcast: bool | None = None
    interface: _Text | None = None


class _Group(_CommonSettings):
    """Targets with common settings."""

    template: str | None = None


class _Target(_Group):
    """One target."""

    target: Annotated[TargetSpec, BeforeValidator(_target)]
    name: str | None = None
    group: str | None = None


class _Config(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid")

    defaults: _CommonSettings = _CommonSettings()
    templates: dict[str, _CommonSettings] = {}
    groups: dict[str, _Group] = {}
    targets: list[_Target] = []


_KEYS = {
    name: keys_of(kind)
    for name, kind in (
        ("defaults", _CommonSettings),
        ("templates", _CommonSettings),
        ("groups", _Group),
        ("targets", _Target),
    )
}
"""Allowed keys by table."""


def read_config(path: str) -> list[Check]:
    """The targets of a file, in its order.

    A target's own settings win over those of its template, its group, its group's template, and `[defaults]`, in this
    order.

    Raises:
        UsageError: the file has a mistake; names the line.
        UdpprobeError: it cannot be read.
    """
    config, text = _read(path)
    if not config.targets:
        raise UsageError(f"{path}: has no [[targets]]")
    return [_ask(config, row, path, text) for row in range(len(config.targets))]


def read_templates(path: str) -> dict[str, tuple[Expectation, Probing]]:
    """What each template of a file expects, merged with its `[defaults]`.

    Raises:
        UsageError, UdpprobeError: as `read_config`.
    """
    config, _ = _read(path)
    return {name: _meant(_merged(config.defaults, template)) for name, template in config.templates.items()}


def _read(path: str) -> tuple[_Config, str]:
    try:
        text = read_toml(path)
        return _Config.model_validate(parse_toml(text)), text
    except OSError as error:
        raise UdpprobeError(f"cannot read {path}: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if not isinstance(part, int))
        reason = reason_of(first, _KEYS if len(first["loc"]) == 1 else _KEYS[str(first["loc"][0])])
        raise UsageError(f"{path}, line {line_of(text, first['loc'])}: {where}: {reason}") from None
    except ValueError as error:  # invalid TOML; tomllib names the line
        raise UsageError(f"{path}: {error}") from None
    except RecursionError:
        raise UsageError(f"{path}: brackets or braces are nested too deeply") from None


def _ask(config: _Config, row: int, path: str, text: str) -> Check:
    target = config.targets[row]
    try:
        group = _named(config.groups, target.group, "group")
        several = (
            config.defaults,
            _named(config.templates, group.template, "template"),
            group,
            _named(config.templates, target.template, "template"),
            target,
        )
    except UsageError as error:
        raise UsageError(f"{path}, line {line_of(text, ('targets', row))}: {error}") from None
    expectation, probing = _meant(_merged(*several))
    return Check(target.name or target.target.text, target.target, expectation, probing, target.group)


def _named(sections: Mapping[str, Any], name: str | None, kind: str) -> Any:  # noqa: ANN401 - either of two kinds
    if name is None:
        return _Group()
    if name not in sections:
        raise UsageError(f"there is no {kind} {name!r}{meant(name, sections)}")
    return sections[name]


def _merged(*levels: _CommonSettings) -> dict[str, Any]:
    """The effective settings; later ones win."""
    return {
        name: value
        for level in levels
        for name in _CommonSettings.model_fields
        if (value := getattr(level, name)) is not None
    }


def _meant(settings: dict[str, Any]) -> tuple[Expectation, Probing]:
    probing = {name: settings.pop(name) for name in Probing.__struct_fields__ if name in settings}
    if "silence" in settings:
        settings["silence"] = CheckState[settings["silence"].upper()]
    return Expectation(**settings), Probing(**probing)
