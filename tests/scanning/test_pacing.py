"""Whole scans of simulated worlds: how long they take, what they call silent, and what they ask of a host."""

from __future__ import annotations

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pacing_world import START_NS, World
from profiles import examples

from udpprobe.core.limiter import MS, SECOND
from udpprobe.scanning.pacing import MOST_DISTRUST, Pacing, Patience
from udpprobe.scanning.unanswered import LIMITED, REPLIED, SILENT, UNDECIDED, UNSENT

PORTS = range(1, 101)
ANSWERING, DROPPED = (5, 6, 7), (50, 51)
CLOSED = len(PORTS) - len(ANSWERING) - len(DROPPED)
BURST = 6
LINGER_S = 1


def world(**fields):
    """A host as issue 3 measures it: 95 closed ports, 3 that answer, 2 that say nothing."""
    return World(**{"ports": PORTS, "answering": ANSWERING, "silent": DROPPED, **fields})


def truth(made):
    return {(host, port) for host in range(made.plan.hosts) for port in made.silent}


def judged_right(made):
    """Whether every task is decided, and none wrong."""
    return truth(made) == made.silent_found() and UNDECIDED not in made.pacing.state[: made.plan.requested_count]


# ---- limits


def test_a_limit_of_one_a_second_costs_no_more_than_3_percent():
    linux = world(interval_ns=SECOND)
    assert 1.03 * (CLOSED - BURST) >= linux.run()
    assert judged_right(linux)


@pytest.mark.parametrize("sources", [2, 3, 4])
def test_every_source_address_has_tokens_of_its_own(sources):
    linux = world(interval_ns=SECOND, sources=sources)
    assert 1.15 * (CLOSED - BURST * sources) / sources >= linux.run()
    assert judged_right(linux)


def test_a_limit_of_ten_a_second_is_used_fully_too():
    linux = world(interval_ns=SECOND // 10)
    assert (CLOSED - BURST) / 10 + LINGER_S + 1.5 >= linux.run()
    assert judged_right(linux)


@pytest.mark.parametrize(("interval_ns", "most_s"), [(SECOND // 10, 14), (SECOND, 97)])
def test_tokens_faster_than_the_rtt_are_used(interval_ns, most_s):
    far = world(interval_ns=interval_ns, rtt_ns=150 * MS)
    assert most_s >= far.run()
    assert judged_right(far)


def test_many_hosts_take_no_longer_than_one():
    many = world(interval_ns=SECOND, hosts=8)
    assert 1.05 * (CLOSED - BURST) >= many.run()
    assert judged_right(many)


def test_many_silent_ports_cost_little_more_than_the_closed_ones():
    mostly = World(ports=PORTS, silent=range(1, 61), interval_ns=SECOND)
    assert 1.35 * (40 - BURST) >= mostly.run()
    assert judged_right(mostly)


@pytest.mark.parametrize("burst", [1, 2, 20])
def test_a_bucket_of_any_depth_is_learned(burst):
    other = world(interval_ns=SECOND // 5, burst=burst)
    assert (CLOSED - burst) / 5 + 5 >= other.run()
    assert judged_right(other)


def test_a_limit_reset_by_every_probe_needs_pauses():
    router = World(ports=range(1, 15), silent=(5,), interval_ns=SECOND, resets=True)
    router.run()
    assert judged_right(router)


def test_losing_a_third_of_the_tokens_makes_no_port_silent():
    robbed = world(answering=(), interval_ns=SECOND, thief_ns=3 * SECOND)
    assert 1.25 * 1.5 * (98 - BURST) >= robbed.run()
    assert judged_right(robbed)


@pytest.mark.parametrize("loss", [0.02, 0.1])
def test_loss_takes_time_but_rarely_makes_a_port_silent(loss):
    lossy = world(interval_ns=SECOND // 10, loss=loss)
    lossy.run()
    assert truth(lossy) <= lossy.silent_found()
    assert 1 >= len(lossy.silent_found() - truth(lossy))


def test_a_limit_that_never_gives_a_token_again_leaves_ports_undecided():
    exhausted = World(ports=range(1, 31), interval_ns=3600 * SECOND)
    exhausted.run()
    assert (BURST, 30 - BURST) == tuple(map(exhausted.pacing.state[:30].count, (REPLIED, LIMITED)))


# ---- no limit


@pytest.mark.parametrize("rtt_ns", [MS, 150 * MS])
def test_without_a_limit_silent_ports_are_known_after_three_rounds(rtt_ns):
    free = world(silent=range(30, 70), rtt_ns=rtt_ns)
    assert LINGER_S + 1 + 16 * rtt_ns / SECOND >= free.run()
    assert judged_right(free)
    assert len(PORTS) + 40 * 3 + 20 >= free.sent


def test_a_host_whose_every_port_is_refused_is_done_in_one_round():
    closed = World(ports=PORTS)
    assert 0.2 >= closed.run()
    assert 100 == closed.sent


def test_a_round_of_many_silent_ports_keeps_to_the_rate():
    wide = World(ports=range(1, 1001), silent=range(1, 901))
    assert (1000 + 3 * 900) / 2000 <= wide.run(rate_pps=2000)
    assert judged_right(wide)


# ---- hosts that never speak


def test_a_mute_host_is_probed_and_waited_for_as_configured():
    mute = World(ports=PORTS, silent=PORTS, mute=True)
    took_s = mute.run(retries=2, timeout_ns=4 * SECOND)
    assert 4 <= took_s <= 4.5
    assert 3 * 100 + 2 == mute.sent
    assert judged_right(mute)
    assert not any(mute.pacing.drew_error)


def test_without_control_only_requested_ports_are_probed():
    mute = World(ports=PORTS, silent=PORTS, mute=True)
    mute.run(control=False)
    assert [0] == mute.plan.attempts[mute.plan.requested_count :].tolist()


@pytest.mark.parametrize(("control", "expected"), [(True, 1), (False, 0)])
def test_a_host_with_few_ports_has_its_control_port_probed_at_once(control, expected):
    few = World(ports=(5, 6), answering=(5,), silent=(6,))
    few.pacing = Pacing(few.plan, Patience(0, 2, SECOND, control), START_NS)
    assert expected == sum(task >= few.plan.requested_count for task, _ in few.pacing.due(START_NS, 100))


def test_a_closed_control_port_shows_that_the_others_are_silent():
    few = World(ports=(5, 6), silent=(5, 6))
    few.run()
    assert all(few.pacing.drew_error)
    assert judged_right(few)


# ---- the rate


def sent_per_second(made, **options):
    """The most that was sent in any tenth of a second, as a rate."""
    times = []
    send = made.send

    def counted(due, now_ns):
        times.extend([now_ns] * len(due))
        send(due, now_ns)

    made.send = counted
    made.run(**options)
    return max(10 * (bisect_left(times, start + SECOND // 10) - bisect_left(times, start)) for start in set(times))


@pytest.mark.parametrize("rate_pps", [50, 500, 2000])
@pytest.mark.parametrize("interval_ns", [0, SECOND // 10])
def test_the_rate_is_never_exceeded_by_more_than_a_fifth_of_a_tenth_of_a_second(rate_pps, interval_ns):
    made = world(hosts=3, silent=range(60, 101), interval_ns=interval_ns)
    assert rate_pps * 1.2 + 10 >= sent_per_second(made, rate_pps=rate_pps)


@pytest.mark.parametrize("rate_pps", [0.5, 1, 3, 49])
def test_a_low_rate_is_kept_and_used_from_the_start(rate_pps):
    slow = World(ports=range(1, 11))
    assert 9 / rate_pps == pytest.approx(slow.run(rate_pps=rate_pps, loop_ns=10 * MS), rel=0.02, abs=0.15)
    assert judged_right(slow)


def test_without_a_rate_everything_is_sent_at_once():
    free = World(ports=PORTS, hosts=50)
    assert 50_000 <= sent_per_second(free, rate_pps=0)


def test_no_more_probes_are_due_than_fit():
    made = World(ports=PORTS)
    pacing = Pacing(made.plan, Patience(0, 2, SECOND, control=True), START_NS)
    assert [30, 30, 40, 0] == [len(pacing.due(START_NS, room)) for room in (30, 30, 100, 100)]


# ---- what is told meanwhile


def test_a_port_that_this_host_cannot_send_to_is_decided():
    made = World(ports=(1, 2, 3))
    pacing = Pacing(made.plan, Patience(0, 2, SECOND, control=True), START_NS)
    pacing.state[1] = REPLIED
    pacing.unsent(0)
    pacing.unsent(1)
    assert [UNSENT, REPLIED, UNDECIDED] == list(pacing.state[:3])
    assert (2, False) == (pacing.decided(), pacing.done(START_NS))


def test_the_scans_own_ports_are_never_probed():
    made = World(ports=(1, 2, 3))
    pacing = Pacing(made.plan, Patience(0, 2, SECOND, control=True), START_NS)
    pacing.leave_out([1])
    assert [0, 2] == [task for task, _ in pacing.due(START_NS, 10) if task < made.plan.requested_count]
    assert 1 == pacing.decided()


def test_without_replies_there_is_no_estimate():
    made = World(ports=(1,))
    pacing = Pacing(made.plan, Patience(0, 2, SECOND, control=True), START_NS)
    assert pacing.remaining_s() is None


def test_the_estimate_covers_the_queue_and_the_needed_tokens():
    made = world(interval_ns=SECOND)
    pacing = Pacing(made.plan, Patience(10, 2, SECOND, control=True), START_NS)
    assert 10 == pacing.remaining_s()
    estimates = []
    look = Pacing.done

    def watched(self, now_ns):
        if now_ns >= START_NS + 20 * SECOND and not estimates:
            estimates.append(self.remaining_s())
        return look(self, now_ns)

    Pacing.done = watched
    try:
        took_s = made.run()
    finally:
        Pacing.done = look
    assert took_s - 20 == pytest.approx(estimates[0], abs=8)


# ---- any world

ports = st.sets(st.integers(1, 60), min_size=1, max_size=40)
limits = st.fixed_dictionaries(
    {
        "interval_ns": st.sampled_from((0, 20 * MS, 100 * MS, 300 * MS)),
        "burst": st.integers(1, 10),
        "rtt_ns": st.sampled_from((MS, 30 * MS)),
        "hosts": st.integers(1, 3),
        "sources": st.integers(1, 2),
    }
)


@examples(60)
@given(ports, st.floats(0, 1), st.floats(0, 0.3), limits)
def test_without_loss_every_verdict_is_right(ports, dropped, answering, limits):
    chosen = sorted(ports)
    silent = chosen[: int(len(chosen) * dropped)]
    answers = chosen[len(silent) : len(silent) + int(len(chosen) * answering)]
    made = World(ports=chosen, silent=silent, answering=answers, **limits)
    made.run()
    assert judged_right(made)
    assert {REPLIED, SILENT, LIMITED} >= set(made.pacing.state[: made.plan.requested_count])


rules = st.lists(
    st.tuples(st.floats(0, 0.3), st.sampled_from((0, 20 * MS, 100 * MS, 300 * MS, SECOND)), st.integers(1, 10)),
    max_size=3,
)


def many_origins(ports, dropped, rules, **fields):
    """A world in which other reporters refuse a part of the ports each."""
    chosen = sorted(ports)
    silent, rest = chosen[: int(len(chosen) * dropped)], chosen[int(len(chosen) * dropped) :]
    of_rules = []
    for part, interval_ns, burst in rules:
        count = int(len(rest) * part)
        of_rules.append((rest[:count], interval_ns, burst))
        rest = rest[count:]
    return World(ports=chosen, silent=silent, rules=of_rules, **fields)


@examples(250)
@given(
    ports,
    st.floats(0, 1),
    rules,
    limits,
    st.sampled_from((0, 0, 0.02, 0.1)),
    st.sampled_from((0, 1000, 100, 20)),
    st.integers(0, 1 << 30),
)
def test_no_port_behind_a_limited_reporter_is_called_silent(ports, dropped, rules, limits, loss, rate, seed):
    made = many_origins(ports, dropped, rules, loss=loss, seed=seed, **limits)
    made.run(rate_pps=rate)
    assert set() == made.wrongly_silent()
    assert UNDECIDED not in made.pacing.state[: made.plan.requested_count]


@examples(60)
@given(ports, st.floats(0, 1), rules, limits, st.integers(0, 1 << 30))
def test_without_known_reporters_no_limited_port_is_called_silent(ports, dropped, rules, limits, seed):
    free = [(part, 0, 1) for part, _, _ in rules]  # of two limits that look alike, none can be told
    made = many_origins(ports, dropped, free, anonymous=True, seed=seed, **limits)
    made.run()
    assert set() == made.wrongly_silent()


@pytest.mark.parametrize("anonymous", [False, True])
def test_refusals_by_a_router_are_no_evidence_about_the_host(anonymous):
    odd = range(1, 100, 2)
    made = World(ports=range(1, 101), rules=[(odd, 0, 1)], interval_ns=SECOND, anonymous=anonymous)
    made.run()
    assert {REPLIED} == set(made.pacing.state[: made.plan.requested_count])


def test_a_late_router_error_reopens_the_judgement_of_silence():
    made = World(ports=(1, 2, 3, 4), silent=(1, 2, 3, 4))
    made.run()
    assert [SILENT] * 4 == list(made.pacing.state[:4])
    made.pacing.failed(0, 0, 0, START_NS + 20 * SECOND, is_refusal=False, origin=(77, 1))
    assert [REPLIED, UNDECIDED, UNDECIDED, UNDECIDED] == list(made.pacing.state[:4])
    assert not made.pacing.done(START_NS + 30 * SECOND)


def test_an_answer_that_takes_longer_than_the_pause_between_probes_is_an_answer():
    slow = World(ports=(1, 2), answering=(1,), silent=(2,), mute=True, rtt_ns=1200 * MS)
    assert 3.3 <= slow.run(timeout_ns=3300 * MS)
    assert [REPLIED, SILENT] == list(slow.pacing.state[:2])


def test_an_error_of_another_address_settles_after_an_rtt():
    made = World(ports=(1,))
    pacing = Pacing(made.plan, Patience(0, 2, SECOND, control=False), START_NS)
    pacing.due(START_NS, 10)
    made.plan.next_attempt(0, START_NS)
    pacing.failed(0, 0, 0, START_NS + 80 * MS, is_refusal=False, origin=(77, 1))
    assert [False, True] == [pacing.done(START_NS + ms * MS) for ms in (159, 160)]


def test_an_answer_and_the_host_s_own_refusal_settle_at_once():
    for said in (
        lambda pacing, now_ns: pacing.answered(0, now_ns),
        lambda pacing, now_ns: pacing.failed(0, 0, 0, now_ns, is_refusal=True),
    ):
        made = World(ports=(1,))
        pacing = Pacing(made.plan, Patience(0, 2, SECOND, control=False), START_NS)
        pacing.due(START_NS, 10)
        made.plan.next_attempt(0, START_NS)
        said(pacing, START_NS + 80 * MS)
        assert pacing.done(START_NS + 80 * MS)


def test_a_host_without_evidence_about_silent_ports_is_given_up():
    ports = [5, 9, 12, 14, 16, 19, 20, 23, 24, 28, 41, 51, 53, 57]  # found by the property above
    made = World(ports=ports, silent=ports[:9], hosts=2, burst=2, rtt_ns=30 * MS, interval_ns=20 * MS)
    assert 10 > made.run(most_s=60)
    assert judged_right(made)


def test_errors_lost_by_this_host_make_no_port_silent():
    world = World(ports=[1, 2, 3])
    world.run()
    assert [REPLIED] * 3 == list(world.pacing.state[:3])
    for _ in range(MOST_DISTRUST + 2):  # no host is active any more: nothing to do, however often
        world.pacing.distrust()
    deaf = World(ports=list(range(1, 31)), silent=range(11, 31))
    receive = deaf.receive

    def losing(now_ns):
        if START_NS + 0.05 * SECOND < now_ns < START_NS + 0.4 * SECOND:
            deaf.events.clear()
            deaf.pacing.distrust()
        receive(now_ns)

    deaf.receive = losing
    deaf.run(rate_pps=400)
    assert {(0, port) for port in range(11, 31)} == deaf.silent_found()
