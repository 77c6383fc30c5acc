"""The gap over which requests are made one."""

from numpack.object_store.pace import Pace


def test_first_measurement_replaces_the_default_and_others_move_the_average():
    pace = Pace()
    assert pace.gap == 1_000_000
    pace.note(512, 0.001)
    assert pace.latency == 0.001
    pace.note(512, 0.002)
    assert 0.001 < pace.latency < 0.0012
    pace.note(8 << 20, 0.1)
    assert abs(pace.bandwidth * (0.1 - pace.latency) - (8 << 20)) < 1
    assert pace.gap == int(pace.latency * pace.bandwidth)


def test_outliers_count_little():
    pace = Pace()
    for _ in range(20):
        pace.note(512, 0.001)
    pace.note(512, 30.0)
    assert pace.latency < 0.0015


def test_gap_is_bounded():
    pace = Pace()
    pace.note(512, 0.0)
    assert pace.gap == 4096
    for _ in range(200):
        pace.note(512, 60.0)
        pace.note(1 << 20, 0.0)
    assert pace.gap == 8 << 20
