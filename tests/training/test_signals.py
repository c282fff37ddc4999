"""SIGTERM and SIGINT are noted, acted upon after a step, and have their former effect again afterwards."""

import os
import signal
import threading

import pytest

from fcn.training import StopSignals


@pytest.fixture(autouse=True)
def handlers():
    """Those of an ordinary process, whatever started the tests."""
    former = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_after_the_step_and_a_second_ctrl_c_ends_at_once(number, capfd):
    with StopSignals() as stop:
        assert not stop(1)
        os.kill(os.getpid(), number)
        assert stop(2)
        assert stop.signal is number
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
        os.kill(os.getpid(), signal.SIGTERM)  # some send it again and again
        assert stop.signal is number
    assert signal.getsignal(signal.SIGINT) is signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    assert f"{number.name}: the step is finished" in capfd.readouterr().err


def test_a_message_that_nobody_reads_does_not_break_a_step():
    former, (reader, writer) = os.dup(2), os.pipe()
    os.close(reader)
    os.dup2(writer, 2)
    try:
        with StopSignals() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop(1)
            assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    finally:
        os.dup2(former, 2)
        os.close(former)
        os.close(writer)


def test_of_several_processes_all_stop_at_one_step_and_ctrl_c_is_told_to_the_others():
    told = []
    signal.signal(signal.SIGTERM, lambda *_: told.append(True))  # as JAX's own, which passes it on
    with StopSignals(lambda step: step == 5) as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert told == [True]
        assert [stop(step) for step in (3, 4)] == [False, False]
        assert stop.signal is None
        assert stop(5)
        assert stop.signal is signal.SIGINT
    with StopSignals(lambda step: True) as stop:
        assert stop(1)
        assert stop.signal is signal.SIGTERM


def test_ignored_signals_stay_ignored_and_other_threads_are_let_be():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert not stop(1)

    def elsewhere():
        with StopSignals() as stop:
            assert not stop(1)
        done.append(True)

    done = []
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert done
