"""Routes in trouble: back-off, pauses, probes, and what becomes of the mail that waits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from gatepost.model.delivery import Cause, Deferred, RemoteReply, Result
from gatepost.observe.events import NoticeQueued, RecipientDeferred, RecipientFailed, RoutePaused, RouteResumed
from gatepost.queue.limits import Limits
from gatepost.queue.retry import Schedule
from gatepost.relay.transport import Delivery
from gatepost.spool.lane import lane_of
from queue_world import DOWN, LATER, OK, REFUSED, START, Way, World

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


async def test_one_message_for_a_next_hop_that_is_away_goes_minutes_after_its_return(world: World) -> None:
    world.hop.answer = DOWN
    await world.accept()
    await world.clock.go_on(3 * HOUR)
    times = world.hop.times
    assert times[1] == 5.0
    assert all(wait <= 300 for wait in map(float.__sub__, times[1:], times))
    assert len(times) < 60
    world.hop.answer = OK
    await world.clock.go_on(5 * MINUTE)
    assert world.spool.count() == 0


async def test_a_next_hop_that_is_away_is_probed_and_not_stormed(world: World) -> None:
    world.hop.answer = DOWN
    world.pour(2000)
    await world.clock.go_on(HOUR)

    assert len(world.hop.times) < 100
    assert world.spool.count() == 2000
    assert len(world.spool.settlements) < 100
    gate = world.scheduler.gates["main"]
    line = gate.lines.get(lane_of("tim"))
    assert line is not None
    assert len(line.names) <= 100
    assert (world.scheduler.in_flight, len(world.scheduler.flights)) == (0, 0)


async def test_mail_that_waited_for_a_next_hop_goes_soon_after_its_return(world: World) -> None:
    world.hop.answer = DOWN
    world.pour(1000)
    await world.clock.go_on(HOUR)
    world.hop.answer = OK
    await world.clock.go_on(5 * MINUTE)
    await world.clock.go_on(10)
    assert world.spool.count() == 0


async def test_a_dead_route_with_much_mail_holds_up_no_other(world: World) -> None:
    dead = world.route("dead.example", DOWN)
    world.pour(1000, "a@dead.example")
    world.pour(1, "b@example.net")
    await world.clock.go_on(MINUTE)
    assert len(world.hop.times) == 1

    await world.accept("c@example.net")
    assert world.hop.times[-1] == MINUTE
    assert len(dead.times) < 100


async def test_a_dead_route_is_not_read_over_and_over(world: World) -> None:
    world.route("dead.example", DOWN)
    world.pour(1000, "a@dead.example")
    await world.clock.go_on(MINUTE)
    world.spool.reads = 0
    await world.clock.go_on(HOUR - 2 * MINUTE)
    assert world.spool.reads < 200


async def test_a_slow_route_with_much_mail_holds_up_no_other() -> None:
    world = World(limits=Limits(attempts=10, per_route=5))
    slow = world.route("slow.example")
    slow.seconds = 10 * MINUTE
    world.pour(1000, "a@slow.example")
    world.put("b@example.net")
    await world.start()
    await world.clock.go_on(MINUTE)
    assert len(world.hop.times) == 1
    assert slow.at_once == 5
    slow.seconds = 0.1
    await world.clock.go_on(15 * MINUTE)
    assert world.spool.count() == 0
    assert len(slow.times) == 1001 - 1
    await world.stop()


async def test_a_recipient_behind_a_dead_route_does_not_hold_up_the_others_of_its_message(world: World) -> None:
    dead = world.route("dead.example", DOWN)
    for _ in range(3):
        await world.accept("a@dead.example")
    name = await world.accept("b@dead.example", "c@example.net")
    assert world.hop.recipients == ["c@example.net"]

    dead.answer = OK
    await world.clock.go_on(MINUTE)
    assert world.spool.entry(name) is None
    assert world.hop.recipients == ["c@example.net"]
    assert dead.recipients.count("b@dead.example") == 1


async def test_a_message_that_breaks_the_next_hop_does_not_stop_the_others(world: World) -> None:
    def answer(delivery: Delivery) -> Sequence[Result]:
        return [DOWN if each.mailbox.local == "poison" else OK for each in delivery.recipients]

    world.hop.answer = answer
    await world.accept("poison@example.net")
    good = 0
    for _ in range(60):
        await world.accept("a@example.net")
        good += 1
        await world.clock.go_on(MINUTE)
    assert world.hop.recipients.count("a@example.net") == good
    assert world.hop.recipients.count("poison@example.net") < 15
    assert world.spool.count() == 1


async def test_mail_for_a_dead_next_hop_is_given_up_in_time(world: World) -> None:
    world.route("dead.example", DOWN)
    world.pour(200, "a@dead.example")
    await world.clock.go_on(5 * HOUR + MINUTE)
    assert len(list(world.bounces())) == 200, "within the hour each sender hears that it takes long"
    assert all(b"Action: delayed\r\nStatus: 4.4.1" in content for _, content in world.bounces())
    await world.clock.go_on(5 * DAY - 5 * HOUR - MINUTE - 1)
    assert world.told(RecipientFailed) == []
    await world.clock.go_on(HOUR + MINUTE)
    failed = world.told(RecipientFailed)
    assert len(failed) == 200
    assert {(each.route, each.status, each.reply) for each in failed} == {
        ("dead.example", "4.4.7", "451 4.4.7 connection refused")
    }
    assert len(list(world.bounces())) == 400
    assert world.hop.recipients == ["tim@example.org"] * 400


async def test_trouble_with_the_route_pauses_it_and_bounces_nothing(world: World) -> None:
    world.hop.answer = REFUSED
    names = [await world.accept() for _ in range(5)]
    [paused] = world.told(RoutePaused)
    assert (paused.route, paused.reason, paused.until) == ("main", "535 5.7.8 bad login", START + 60)
    assert world.told(RecipientDeferred)[0].cause == "route"

    await world.clock.go_on(8 * DAY)
    assert world.told(RecipientFailed) == []
    assert [entry.id for entry in world.spool.list()][:5] == names
    assert [event.action for event in world.told(NoticeQueued)] == ["delayed"] * 5
    assert world.spool.count() == 10
    assert all(b"Status: 4.3.5\r\n" in content and b"bad login" not in content for _, content in world.bounces())
    probes = world.hop.times
    assert probes[1] == 60.0
    assert all(wait <= 16 * MINUTE for wait in map(float.__sub__, probes[1:], probes))
    assert len(probes) < 8 * 24 * 5
    assert len(world.told(RoutePaused)) == len(probes)

    world.hop.answer = OK
    await world.clock.go_on(16 * MINUTE)
    assert [event.route for event in world.told(RouteResumed)] == ["main"]
    assert world.spool.count() == 0


async def test_the_give_up_clock_stands_still_while_a_route_is_paused(world: World) -> None:
    world.hop.answer = LATER
    name = await world.accept()
    await world.clock.go_on(2 * DAY)
    world.hop.answer = REFUSED
    await world.clock.go_on(10 * DAY)
    world.hop.answer = LATER
    await world.clock.go_on(2.5 * DAY)
    entry = world.spool.entry(name)
    assert entry is not None
    assert 9 * DAY < entry.stalled < 10.3 * DAY
    await world.clock.go_on(DAY)
    assert world.spool.entry(name) is None
    assert world.told(RecipientFailed)[0].status == "4.4.7"


async def test_the_clock_of_mail_that_was_never_tried_stands_still_too_and_over_a_restart() -> None:
    world = World(schedule=Schedule(give_up_after=timedelta(hours=6)))
    world.hop.answer = REFUSED
    await world.start()
    names = world.pour(100)
    await world.clock.go_on(12 * HOUR)
    name = next(name for name in names if name not in {name for _, name, _ in world.hop.deliveries})
    entry = world.spool.entry(name)
    assert entry is not None
    assert entry.attempts == 0
    assert 10 * HOUR <= entry.stalled <= 12 * HOUR

    world.hop.answer = LATER
    await world.restart()
    await world.clock.go_on(3 * HOUR)
    assert world.told(RecipientFailed) == []
    await world.clock.go_on(5 * HOUR)
    assert len(world.told(RecipientFailed)) >= 100
    await world.stop()


async def test_a_login_that_is_refused_again_and_again_is_one_pause_with_news(world: World) -> None:
    world.hop.answer = REFUSED
    await world.accept()
    await world.clock.go_on(HOUR)
    untils = [event.until - START for event in world.told(RoutePaused)]
    assert untils[:4] == [60.0, 180.0, 420.0, 900.0]
    assert world.told(RouteResumed) == []


async def test_a_next_hop_that_goes_away_while_its_route_is_paused_stays_paused(world: World) -> None:
    world.hop.answer = REFUSED
    name = await world.accept()
    world.hop.answer = DOWN
    await world.clock.go_on(9 * DAY)
    assert world.told(RouteResumed) == []
    assert world.spool.entry(name) is not None


async def test_what_was_under_way_when_a_route_closed_does_not_close_it_longer(world: World) -> None:
    world.hop.answer = DOWN
    world.hop.seconds = 1
    for _ in range(20):
        await world.accept()
    await world.clock.go_on(1.5)
    assert world.scheduler.gates["main"].health.until == START + 1 + 10


async def test_a_recipient_without_a_route_waits_and_the_configuration_is_blamed(world: World) -> None:
    del world.routes.ways["*"]
    world.route("example.net")
    name = await world.accept("a@example.net", "b@nowhere.example")
    [paused] = world.told(RoutePaused)
    assert paused.route == "(no route)"
    assert paused.reason == "451 4.3.5 No route is configured for b@nowhere.example"
    await world.clock.go_on(8 * DAY)
    assert world.spool.entry(name) is not None
    assert world.told(RecipientFailed) == []


async def test_other_routes_are_used_as_soon_as_they_are_given(world: World) -> None:
    del world.routes.ways["*"]
    for _ in range(130):
        await world.accept()
    await world.clock.go_on(DAY)
    world.routes.ways["*"] = Way("main", world.hop)
    world.scheduler.adapt(world.routes, Schedule(), Limits())
    await world.clock.go_on(16 * MINUTE)
    assert world.spool.count() == 0


async def test_a_deferral_for_different_reasons_is_no_trouble_with_the_next_hop(world: World) -> None:
    def answer(delivery: Delivery) -> Sequence[Result]:
        return [LATER, DOWN][: len(delivery.recipients)]

    world.hop.answer = answer
    for _ in range(5):
        await world.accept("a@example.net", "b@example.net")
    assert len(world.hop.times) == 5
    assert world.scheduler.gates["main"].health.is_open


async def test_a_closed_route_lets_one_probe_through_at_a_time(world: World) -> None:
    world.hop.answer = DOWN
    world.pour(50)
    await world.clock.go_on(11)
    world.hop.seconds = 100
    world.hop.answer = OK
    before = len(world.hop.times)
    await world.clock.go_on(60)
    assert len(world.hop.times) == before + 1
    world.hop.seconds = 0
    await world.clock.go_on(100)
    assert world.spool.count() == 0


async def test_a_busy_next_hop_that_still_takes_mail_is_not_closed(world: World) -> None:
    busy = Deferred(RemoteReply.parse(421, "4.3.2 too many connections"), cause=Cause.NEXT_HOP)
    turns = iter(range(10_000))
    world.hop.answer = lambda delivery: [busy if next(turns) % 3 == 0 else OK] * len(delivery.recipients)
    for _ in range(100):
        await world.accept()
    assert len(world.hop.times) >= 100
    await world.clock.go_on(HOUR)
    assert world.spool.count() == 0


async def test_mail_given_up_at_a_dead_next_hop_does_not_count_as_its_answer(world: World) -> None:
    """A deferral that became a failure because time was up says nothing good of the next hop."""
    await world.stop()
    world.pour(200)
    world.hop.answer = DOWN
    await world.clock.go_on(6 * DAY)
    await world.restart()
    await world.clock.go_on(HOUR + MINUTE)
    assert len(world.told(RecipientFailed)) == 200
    assert len(world.hop.times) <= 40


async def test_a_message_that_was_perhaps_taken_is_tried_again_by_its_own_slow_schedule(world: World) -> None:
    world.hop.answer = Deferred(
        RemoteReply.ours(451, "4.4.2", "connection lost"), cause=Cause.NEXT_HOP, is_doubtful=True
    )
    await world.accept()
    await world.clock.go_on(4 * HOUR)
    assert len(world.hop.times) <= 8
    waits = [later - sooner for sooner, later in zip(world.hop.times, world.hop.times[1:], strict=False)]
    assert waits[-1] >= HOUR


async def test_nothing_goes_out_on_a_route_that_is_paused_by_hand_and_nothing_bounces(world: World) -> None:
    world.scheduler.gates.pause({"main": world.clock.now()}, world.clock.now())
    world.scheduler.look_again()
    names = world.pour(40)
    other = world.route("other.example")
    await world.accept("a@other.example")
    await world.clock.go_on(9 * DAY)
    assert world.hop.times == []
    assert len(other.times) == 1
    assert world.told(RecipientFailed) == []
    assert [event.action for event in world.told(NoticeQueued)] == ["delayed"] * len(names)
    assert all(b"Status: 4.3.5\r\n" in content for _, content in world.bounces())
    assert world.spool.count() == 2 * len(names)

    world.hop.answer = LATER
    world.scheduler.gates.pause({}, world.clock.now())
    world.scheduler.look_again()
    await world.clock.go_on(10)
    assert len(world.hop.times) == 2 * len(names)
    assert world.told(RecipientFailed) == [], "nine days did not make them older"
    world.hop.answer = OK
    await world.clock.go_on(HOUR)
    assert world.spool.count() == 0


async def test_a_route_stays_paused_over_a_restart_and_the_time_between_is_not_counted(world: World) -> None:
    paused = {"main": world.clock.now()}
    world.scheduler.gates.pause(paused, world.clock.now())
    await world.accept()
    await world.stop()
    world.clock.time += 9 * DAY
    world.scheduler = world.new_scheduler()
    world.scheduler.gates.pause(paused, world.clock.now())
    await world.start()
    world.hop.answer = LATER
    await world.clock.go_on(HOUR)
    assert world.hop.times == []
    world.scheduler.gates.pause({}, world.clock.now())
    world.scheduler.look_again()
    await world.clock.go_on(MINUTE)
    assert sorted(world.hop.recipients) == ["ann@example.net", "tim@example.org"], "and a notice: each account's turn"
    assert world.told(RecipientFailed) == []


async def test_a_paused_route_with_much_mail_costs_little(world: World) -> None:
    world.scheduler.gates.pause({"main": world.clock.now()}, world.clock.now())
    world.pour(2000)
    await world.clock.go_on(30 * MINUTE)
    reads = world.spool.reads
    await world.clock.go_on(20 * MINUTE)
    assert world.spool.reads - reads < 100


async def test_mail_without_a_route_waits_without_growing_older_and_goes_when_there_is_one(world: World) -> None:
    way = world.routes.ways.pop("*")
    names = [await world.accept() for _ in range(3)]
    await world.clock.go_on(20 * DAY)
    assert world.told(RecipientFailed) == []
    assert {world.spool.entries[name].progress[0].attempts for name in names} == {0}
    world.routes.ways["*"] = way
    world.hop.answer = LATER
    world.scheduler.adapt(world.routes, Schedule(), Limits())
    await world.clock.settle()
    assert sorted(world.hop.recipients) == ["ann@example.net"] * 3 + ["tim@example.org"] * 3
    assert world.told(RecipientFailed) == []
    assert [event.action for event in world.told(NoticeQueued)] == ["delayed"] * 3
    assert world.spool.count() == 6
