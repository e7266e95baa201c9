"""What may enter a scan's report: its own probes, what answers them, and errors that prove themselves.

An error quotes the datagram that caused it, and whoever did not see that cannot guess its token. An error
without it is not believed. It was caused by somebody else's datagram; or it is forged, and if it quotes the port
that is reserved for the scan it is counted as foreign.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from udpprobe.core.batch import I64, PADDING_BYTES, U8, U64, Bool
from udpprobe.core.correlation.correlate import Matches
from udpprobe.core.correlation.levels import EXACT, FLOW, NONE, REWRITTEN
from udpprobe.core.notes import Note
from udpprobe.core.packets import Columns, Datagrams, Errors, field, u64
from udpprobe.core.probing.craft import HEADER_BYTES, Crafter, is_v4
from udpprobe.core.probing.probes import TOKEN_BYTES, Payloads, Probes, flow_label, ip_id
from udpprobe.core.scanning.oddities import Looks
from udpprobe.core.scanning.plan import Plan

PORT = u64(0xFFFF)
PROBE, ANSWER, ERROR, REFUSAL = range(4)
"""Kinds of `Heard`."""


@dataclass(slots=True)
class Heard(Columns):
    """(n,) what was heard of a scan's tasks, in capture order within each kind."""

    task: I64
    time_ns: I64
    kind: I64
    """PROBE: it left. ANSWER: a datagram came back. ERROR: an ICMP error came. REFUSAL: the host's own port
    unreachable."""
    source: I64
    """Which of the host's source addresses it concerns."""
    attempt: I64
    """Of an ERROR or REFUSAL, which probe it is about; -1 where that is not known."""


class Admission:
    """Picks from decoded rows what belongs to a scan, and takes note of what it says.

    Args:
        plan: what is probed.
        payloads: what probes carry.
        crafter: makes the probes, also once more to compare them with quotes.
    """

    def __init__(self, plan: Plan, payloads: Payloads, crafter: Crafter) -> None:
        self._plan, self._payloads, self._crafter = plan, payloads, crafter
        self.foreign = 0
        """Errors that quote a datagram from the scan's own port, but not a probe."""
        self.looks = Looks(plan.tasks.host)
        """What the hosts' refusals have in common."""
        self._heard: list[Heard] = []
        self._frames: list[tuple[I64, I64]] = []
        self._answers: list[tuple[I64, I64]] = []
        self._is_heard = np.zeros(len(plan), np.bool_)
        """(tasks,) whether an answer or an error came for each."""
        self._elsewhere: dict[tuple[int, int, int], int] = {}
        """Tasks by (host, our port, the host's port), where the last is not their own."""

    def frames(self) -> tuple[I64, I64]:
        """(n,) frames that were admitted since this was asked last, and (n,) their tasks."""
        frames, self._frames = self._frames, []
        return _joined(frames)

    def answers(self) -> tuple[I64, I64]:
        """Likewise, only of those frames that answer."""
        answers, self._answers = self._answers, []
        return _joined(answers)

    def heard(self) -> list[Heard]:
        """What was heard since this was asked last."""
        heard, self._heard = self._heard, []
        return heard

    def datagrams(self, some: Datagrams) -> Bool:
        """Which of (n,) datagrams are probes or their answers.

        What goes from one of the scan's own ports to another is a probe, never an answer: this host scans itself.
        An answer may come from another port of the host (RFC 1350, section 4). Where it is known which task it
        answers, `some` is told that it came from there.
        """
        admitted = np.zeros(len(some), np.bool_)
        out = np.flatnonzero(self._is_own(some.ports >> u64(16)))
        admitted[out] = self._left(some.take(out))
        back = np.flatnonzero(self._is_own(some.ports & PORT) & ~admitted)
        task = self._answered(some.take(back))
        hit = back[task >= 0]
        some.ports[hit] = self._plan.tasks.port[task[task >= 0]].view(np.uint64) << u64(16) | some.ports[hit] & PORT
        admitted[back] = self._came_back(some.take(back), task)
        return admitted

    def _is_own(self, port: U64) -> Bool:
        """(n,) whether each is a port that probes leave from."""
        return port - u64(self._plan.sources.port) < u64(self._plan.sources.ports)     # below it, that wraps round

    def _left(self, some: Datagrams) -> Bool:
        task = self._plan.find(some.destination_high, some.destination_low, some.ports & PORT)
        source = self._source(task, some.source_high, some.source_low)
        self._note(_heard(PROBE, task, some.time_ns, source), source >= 0)
        self._frames.append((some.frame[source >= 0], task[source >= 0]))
        return source >= 0

    def _answered(self, some: Datagrams) -> I64:
        """(n,) the task that each datagram answers, -1 for none."""
        port, own = some.ports >> u64(16), (some.ports & PORT).view(np.int64)
        task = self._plan.find(some.source_high, some.source_low, port)
        task[task >= 0] = np.where(self._plan.source_port[task] == own, task, -1)[task >= 0]
        elsewhere = np.flatnonzero(task < 0)
        host = self._plan.host_of(some.source_high[elsewhere], some.source_low[elsewhere])
        elsewhere, host = elsewhere[host >= 0], host[host >= 0]
        if len(elsewhere):
            task[elsewhere] = self._answered_from(
                zip(host.tolist(), own[elsewhere].tolist(), port[elsewhere].tolist(), strict=True))
        return task

    def _answered_from(self, elsewhere: Iterable[tuple[int, int, int]]) -> list[int]:
        """The task that each is an answer to, of (host, our port, the host's port), -1 where that is not clear."""
        waiting = cache(self._only_waiting)
        tasks = []
        for host, own, port in elsewhere:
            task = self._elsewhere.get((host, own, port), -1)
            task = waiting(host << 16 | own) if task < 0 else task
            if task >= 0:
                self._elsewhere[host, own, port] = task
            tasks.append(task)
        return tasks

    def _only_waiting(self, flow: int) -> int:
        """The only task of a host (<< 16 | source port) probed from there and not heard of yet; else -1."""
        flows, order = self._by_flow
        tasks = order[slice(*np.searchsorted(flows, (flow, flow + 1)))]
        waiting = tasks[~self._is_heard[tasks] & (self._plan.attempts[tasks] > 0)]
        return int(waiting[0]) if len(waiting) == 1 else -1

    @cached_property
    def _by_flow(self) -> tuple[I64, I64]:
        """(tasks,) host << 16 | source port in order, and the task of each; of what was asked for."""
        flows = (self._plan.tasks.host << 16 | self._plan.source_port)[:self._plan.asked]
        order = np.argsort(flows, kind="stable")
        return flows[order], order

    @property
    def other_ports(self) -> dict[int, int]:
        """By task, the other port that it was answered from."""
        return {task: port for (_, _, port), task in self._elsewhere.items()}

    def _came_back(self, some: Datagrams, task: I64) -> Bool:
        source = self._source(task, some.destination_high, some.destination_low)
        admitted = source >= 0
        self._note(_heard(ANSWER, task, some.time_ns, source), admitted)
        self._answers.append((some.frame[admitted], task[admitted]))
        self._frames.append(self._answers[-1])
        return admitted

    def errors(self, some: Errors, data: U8) -> Bool:
        """Which of (n,) errors quote a probe.

        Args:
            some: the errors.
            data: the bytes their `message` points into.
        """
        has_ports = some.notes & Note.NO_PORTS == 0
        task = np.where(has_ports, self._plan.find(some.destination_high, some.destination_low, some.ports & PORT), -1)
        known = np.flatnonzero(task >= 0)
        believed = np.zeros(len(some), np.bool_)
        quotes, tasks = some.take(known), task[known]
        source = np.maximum(self._source(tasks, quotes.source_high, quotes.source_low), 0)  # a NAT may have changed it
        proven, attempt = self._proven(quotes, data, tasks, source)
        believed[known] = proven
        self._frames.append((quotes.frame[proven], tasks[proven]))
        ours = has_ports & self._is_own(some.ports >> u64(16))
        self.foreign += int(np.count_nonzero(ours & ~believed))
        itself = (quotes.reporter_high == quotes.destination_high) & (quotes.reporter_low == quotes.destination_low)
        port_unreachable = (quotes.family << 16 | quotes.type << 8 | quotes.code)
        refusal = itself & np.isin(port_unreachable, PORT_UNREACHABLE)
        kind = np.where(refusal, REFUSAL, ERROR)
        self._note(Heard(tasks, quotes.time_ns, kind, source, attempt), proven)
        refused = proven & refusal
        self.looks.take(tasks[refused], quotes.family[refused], quotes.outer[refused])
        return believed

    def adopt(self, errors: Errors, found: Matches) -> None:
        """Make the most of what correlation found for (n,) admitted errors: each quotes a probe of this scan.

        Its token proves as much as an id, which IPv6 has not. And the capture need not have seen the probe: one to a
        neighbour that nobody finds never leaves.
        """
        found.match[found.match == FLOW] = EXACT
        unseen = np.flatnonzero(found.match == NONE)
        quotes = errors.take(unseen)
        task = self._plan.find(quotes.destination_high, quotes.destination_low, quotes.ports & PORT)
        is_own = self._is_own(quotes.ports >> u64(16)) & (
            self._source(task, quotes.source_high, quotes.source_low) >= 0)
        found.match[unseen], found.time_ns[unseen] = np.where(is_own, EXACT, REWRITTEN), self._plan.sent_ns[task]
        found.notes[unseen[~is_own]] |= Note.SOURCE_REWRITTEN

    def _source(self, task: I64, high: U64, low: U64) -> I64:
        """(n,) which source address of each task this is, -1 for none or for no task."""
        host = self._plan.tasks.host[np.maximum(task, 0)]
        sources = self._plan.sources
        equal = (sources.high[host] == high[:, None]) & (sources.low[host] == low[:, None]) & (task >= 0)[:, None]
        return np.where(equal.any(axis=1), equal.argmax(axis=1), -1)

    def _note(self, heard: Heard, keep: Bool) -> None:
        if not keep.any():
            return
        self._heard.append(heard.take(keep))
        if heard.kind[0] != PROBE:
            self._is_heard[heard.task[keep]] = True

    def _proven(self, quotes: Errors, data: U8, task: I64, source: I64) -> tuple[Bool, I64]:
        """Whether each error quotes a probe that was sent; and which one, -1 where only its payload tells."""
        attempt = self._attempt(quotes, data, task, source)
        by_id = (attempt >= 0) & (attempt < self._plan.attempts[task])
        supposed = np.where(by_id, attempt, np.maximum(self._plan.attempts[task] - 1, 0))
        probes = self._plan.probes(task, source, supposed)
        by_sum, by_data = self._agree(quotes, data, probes, by_id)
        strong = self._payloads.token_size[probes.payload] == TOKEN_BYTES
        sent = self._plan.attempts[task] > 0
        return sent & (by_id & (by_sum | by_data) | by_data & strong), np.where(by_id, attempt, -1)

    def _attempt(self, quotes: Errors, data: U8, task: I64, source: I64) -> I64:
        """(n,) which attempt the quoted id or flow label is of; any number where it is of none."""
        first = self._plan.probes(task, source, np.zeros(len(task), np.int64))
        quoted = quotes.detail >> u64(48)
        behind_id = (quoted + u64(0xFFFF) - ip_id(first)) % u64(0xFFFF)
        behind_swapped = (_swapped(quoted) + u64(0xFFFF) - ip_id(first)) % u64(0xFFFF)
        behind_label = (_quoted_label(quotes, data) - flow_label(first)) & u64(0xFFFFF)
        sent = self._plan.attempts[task].view(np.uint64)
        behind_id = np.where((behind_id >= sent) & (behind_swapped < sent), behind_swapped, behind_id)
        return np.where(is_v4(first), behind_id, behind_label).view(np.int64)

    def _agree(self, quotes: Errors, data: U8, probes: Probes, by_id: Bool) -> tuple[Bool, Bool]:
        """Whether each quote has the probe's length and checksum; else whether it has its payload with the token.

        Without the right id or label (`by_id`) the former proves nothing, and the latter is looked at all the same.
        """
        by_sum, by_data = np.zeros((2, len(probes)), np.bool_)
        quoted_sum = np.where(quotes.notes & Note.NO_CHECKSUM, -1, field(quotes.detail, 16, 16).view(np.int64))
        for some in self._crafter.craft(probes):
            header = HEADER_BYTES[some.family]
            words = some.packets[:, header - 4:header].copy().view(">u2").astype(np.int64)
            rows = some.rows
            by_sum[rows] = ((words[:, 1] == quoted_sum[rows])
                            & (words[:, 0] == field(quotes.detail[rows], 32, 16).view(np.int64)))
            unsure = np.flatnonzero(~(by_sum[rows] & by_id[rows]))
            payload = some.packets[unsure, header:]
            by_data[rows[unsure]] = self._same_data(quotes.take(rows[unsure]), data, probes.payload[rows[unsure]],
                                                    payload)
        return by_sum, by_data

    def _same_data(self, quotes: Errors, data: U8, payload: I64, sent: U8) -> Bool:
        """Whether each quote reaches beyond the token and has the very bytes that were sent up to there."""
        size = self._payloads.token_size[payload]
        needed = np.where(size > 0, self._payloads.token_at[payload] + size, 1 << 20)
        header = np.where(quotes.family == 4, HEADER_BYTES[4], HEADER_BYTES[6])
        start = quotes.message + 8 + header
        there = (quotes.quoted_bytes - header >= needed) & (start + needed <= quotes.message_end)
        width = np.arange(int(needed[there].max(initial=0)))
        rows = np.flatnonzero(there)
        equal = data[start[rows, None] + np.minimum(width, needed[rows, None] - 1)] == sent[rows][:, width]
        same = np.zeros(len(quotes), np.bool_)
        same[rows] = (equal | (width >= needed[rows, None])).all(axis=1)
        return same


PORT_UNREACHABLE = (4 << 16 | 3 << 8 | 3, 6 << 16 | 1 << 8 | 4)
"""Family, type and code."""


def _heard(kind: int, task: I64, time_ns: I64, source: I64) -> Heard:
    return Heard(task, time_ns, np.full(len(task), kind), source, np.full(len(task), -1))


def _joined(parts: list[tuple[I64, I64]]) -> tuple[I64, I64]:
    none = np.empty(0, np.int64)
    frames, tasks = (np.concatenate([none, *each]) for each in zip((none, none), *parts, strict=True))
    return frames, tasks


def _swapped(word: U64) -> U64:
    return (word & u64(0xFF)) << u64(8) | word >> u64(8)


def _quoted_label(quotes: Errors, data: U8) -> U64:
    """(n,) the first 20 bits behind version and class of each quote: of IPv6 its flow label."""
    at = np.minimum(quotes.message + 8, max(data.size - PADDING_BYTES, 0))
    return ((data[at + 1].astype(np.uint64) & u64(0xF)) << u64(16)
            | data[at + 2].astype(np.uint64) << u64(8) | data[at + 3].astype(np.uint64))
