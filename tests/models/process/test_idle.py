"""Work in processor time that nobody else wants."""

import os
import threading

import pytest

from models.process.idle import give_way, in_idle_time
from tests.processes import python

GIVE_WAY = """
import os
from models.process.idle import give_way

had = os.sched_getaffinity(0)
give_way()
give_way()
assert os.sched_getscheduler(0) == os.SCHED_IDLE
assert os.getpriority(os.PRIO_PROCESS, 0) == 19
assert len(os.sched_getaffinity(0)) == (len(had) + 1) // 2, (had, os.sched_getaffinity(0))
"""


def test_a_process_that_gives_way_keeps_to_half_of_the_cores_however_often_it_does():
    python("-c", GIVE_WAY)


def test_work_in_idle_time_leaves_the_thread_that_waits_for_it_as_it_was():
    before = os.sched_getaffinity(0), os.sched_getscheduler(0)
    policy, worker = in_idle_time(lambda: (os.sched_getscheduler(0), threading.get_native_id()))
    assert policy == os.SCHED_IDLE
    assert worker != threading.get_native_id()
    assert (os.sched_getaffinity(0), os.sched_getscheduler(0)) == before


def test_what_work_in_idle_time_raises_is_raised_here():
    with pytest.raises(ZeroDivisionError):
        in_idle_time(lambda: 1 // 0)


def test_a_process_that_has_ended_needs_not_give_way():
    child = os.posix_spawnp("true", ["true"], os.environ)
    os.waitpid(child, 0)
    give_way(child)
