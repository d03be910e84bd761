"""The numbers of the suite, from lists that are made up."""

import pytest

from suite import measure
from suite.load import Seen
from suite.measure import Phases
from suite.rows import BY_NAME, RATE
from suite.servers import Attempt

BEGAN, REPAIRED, ENDED = 100.0, 108.0, 120.0
PHASES = Phases(BEGAN, REPAIRED, ENDED)
FAIR = RATE / 3
ROW = BY_NAME["500"]


def attempts(server, since, until, rate, behaviour="ok", executed=True):
    """Evenly spaced ones."""
    count = round((until - since) * rate)
    return [
        Attempt(server, since + n / rate, "infer", "a", f"{server}-{since}-{n}", behaviour,
                executed, True)
        for n in range(count)
    ]


def seen(kind, sent, took=0.03, name="c"):
    return Seen(name, "a", sent, kind, took)


def test_a_server_that_is_asked_no_more_is_detected_when_it_was_last_asked():
    met = attempts("s1", BEGAN, BEGAN + 2, FAIR, "500")
    assert measure.detection(ROW, PHASES, [], met) == pytest.approx(1.8, abs=0.1)


def test_trials_are_no_traffic():
    met = attempts("s1", BEGAN, BEGAN + 2, FAIR, "500")
    trials = attempts("s1", BEGAN + 3, REPAIRED, measure.TRIALS - 1, "500")
    assert measure.detection(ROW, PHASES, [], met + trials) < 2
    assert measure.detection(ROW, PHASES, [], trials) == 0


def test_a_server_that_keeps_its_traffic_is_never_detected():
    met = attempts("s1", BEGAN, REPAIRED, FAIR, "500")
    assert measure.detection(ROW, PHASES, [], met) is None


def test_where_nothing_arrives_the_last_error_of_a_client_counts():
    row = BY_NAME["refused"]
    assert measure.detection(row, PHASES, [seen("ok", BEGAN + 1)], []) == 0
    errors = [seen("503", BEGAN + 1.5, 0.5), seen("ok", BEGAN + 3)]
    assert measure.detection(row, PHASES, errors, []) == 2
    assert measure.detection(row, PHASES, [seen("503", REPAIRED - 0.5)], []) is None


def test_a_server_is_back_with_half_of_an_even_share():
    slowly = attempts("s1", REPAIRED, REPAIRED + 4, FAIR / 4)
    assert measure.recovery(ROW, PHASES, slowly) is None
    fully = slowly + attempts("s1", REPAIRED + 4, ENDED, FAIR)
    assert measure.recovery(ROW, PHASES, fully) == pytest.approx(4.4, abs=0.2)
    still_bad = attempts("s1", REPAIRED, ENDED, FAIR, "500")
    assert measure.recovery(ROW, PHASES, still_bad) is None


def test_one_model_has_a_third_of_the_load():
    assert measure.share(BY_NAME["one-model"]) == pytest.approx(FAIR / 3)
    assert measure.share(ROW, servers=4) == RATE


def test_what_a_frozen_server_reads_later_counts_when_it_was_sent():
    row = BY_NAME["sigstop"]
    late = attempts("s1", REPAIRED + 0.1, REPAIRED + 0.2, 10)
    late[0].id = "caught"
    [dated] = measure.dated(row, PHASES, [seen("ok", BEGAN + 1, name="caught")], late)
    assert dated.at == pytest.approx(BEGAN + 1.1)


def test_executions_beyond_the_first_are_duplicates():
    once = attempts("s1", BEGAN, BEGAN + 1, 2)
    again = attempts("s2", BEGAN, BEGAN + 1, 2)
    for one, other in zip(once, again, strict=True):
        other.id = one.id
    requests = [seen("ok", BEGAN + 0.1, name=one.id) for one in once]
    assert measure.duplicates(PHASES, requests, once + again) == 2
    assert measure.amplification(PHASES, requests, once + again) == 2
    again[0].executed = False
    assert measure.duplicates(PHASES, requests, once + again) == 1


def test_a_herd_is_the_fullest_second():
    met = attempts("s1", REPAIRED, REPAIRED + 1, 2 * FAIR)
    assert measure.herd(ROW, PHASES, met) == pytest.approx(2, abs=0.1)


def test_defaults_and_proper_errors_are_clean():
    clean = [seen("ok", 1), seen("default", 1), seen("503", 1)]
    assert measure.unclean(clean) == 0
    assert measure.unclean([*clean, seen("timeout", 1), seen("cut", 1), seen("wrong", 1)]) == 3
