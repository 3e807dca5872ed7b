import os
import signal
import time
from contextlib import closing

import faults
import pytest

from ldmopt.child.host import ProcessHost
from ldmopt.contracts import Block, Setting
from ldmopt.errors import GenerationError, UserError
from ldmopt.model import describe
from ldmopt.testing import check_host

SETTING = Setting(steps=4, guidance=4.0, size="64x64", sampler="ddim", fault="none")
BLOCKS = [Block("a house", 0), Block("a house", 1)]


def open_host(**more):
    return ProcessHost(describe("standin"), plugins=["faults"], **more)


def test_conformance():
    check_host(open_host(), SETTING, SETTING.replace({"fault": "nan"}))


@pytest.mark.parametrize("kind", faults.EXPECTED)
def test_fault_is_a_failure_with_a_reason_and_the_host_goes_on(kind):
    with closing(open_host(deadline_seconds=1.0)) as host:
        list(host.generate(SETTING, BLOCKS))
        with pytest.raises(GenerationError) as caught:
            list(host.generate(SETTING.replace({"fault": kind}), BLOCKS))
        assert caught.value.kind == faults.EXPECTED[kind]
        assert "\n" not in caught.value.reason
        assert len(list(host.generate(SETTING, BLOCKS))) == 2


def test_a_device_that_is_not_there_is_named():
    with closing(open_host(device="cuda:99")) as host:
        with pytest.raises(UserError, match="device 'cuda:99' cannot be had here .*auto or cpu"):
            host.describe()


def test_a_hang_in_the_warm_up_meets_the_deadline_too():
    with closing(open_host(deadline_seconds=0.5)) as host:
        with pytest.raises(GenerationError) as caught:
            list(host.generate(SETTING.replace({"fault": "hang"}), BLOCKS))
        assert caught.value.kind == "deadline"
        with pytest.raises(GenerationError) as caught:
            host.memory(SETTING.replace({"fault": "hang"}))
        assert caught.value.kind == "deadline"


def test_pictures_arrive_one_by_one():
    with closing(open_host()) as host:
        pictures = host.generate(SETTING, BLOCKS)
        assert next(pictures)[0].block == BLOCKS[0]
        pictures.close()
        # What was left behind is not taken for the next request's answer.
        first = next(iter(host.generate(SETTING, BLOCKS[1:])))[0]
        assert first.block == BLOCKS[1]


def test_execution_does_not_change_the_starting_noise():
    with closing(open_host()) as host:
        one = [p.digest for p, _ in host.generate(SETTING, BLOCKS)]
        two = [p.digest for p, _ in host.generate(SETTING.replace({"precision": "bf16"}), BLOCKS)]
    assert one == two


def test_what_ran_out_of_memory_is_started_afresh():
    with closing(open_host()) as host:
        with pytest.raises(GenerationError):
            list(host.generate(SETTING.replace({"fault": "memory"}), BLOCKS))
        # The child that limited itself to 2 GB is gone.
        assert host._child is None


def test_children_end_with_their_parent():
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        host = open_host()
        list(host.generate(SETTING, BLOCKS))
        os.write(writing, host._child[1].to_bytes(4, "little"))
        time.sleep(60)
        os._exit(0)
    child = int.from_bytes(os.read(reading, 4), "little")
    os.kill(child, 0)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("the child outlived its parent by 10 seconds")
