"""What engines say comes into the event loop: all of it, in order, with few calls."""

import asyncio
import threading
from functools import partial

from groundup.serve.stream import LoopDispatcher


def test_all_comes_in_order_from_many_threads():
    heard = [[] for _ in range(4)]
    threads = []

    async def listen():
        dispatcher, loop = LoopDispatcher(), asyncio.get_running_loop()

        def say(number):
            for word in range(3000):
                dispatcher.call_soon(loop, partial(heard[number].append, word))

        for number in range(4):
            threads.append(threading.Thread(target=say, args=(number,)))
            threads[-1].start()
        async with asyncio.timeout(60):
            while any(len(each) < 3000 for each in heard):
                await asyncio.sleep(0.001)

    asyncio.run(listen())
    for thread in threads:
        thread.join()
    assert heard == [list(range(3000))] * 4


def test_one_call_takes_along_what_is_said_before_it_is_answered():
    calls, heard = [], []

    class Loop:
        def call_soon_threadsafe(self, call):
            calls.append(call)

    dispatcher = LoopDispatcher()
    for word in range(5):
        dispatcher.call_soon(Loop(), partial(heard.append, word))
    assert len(calls) == 1
    calls[0]()
    assert heard == [0, 1, 2, 3, 4]
    dispatcher.call_soon(Loop(), lambda: heard.append(5))
    assert len(calls) == 2


def test_a_closed_loop_hears_nothing_and_the_next_one_all():
    dispatcher, closed, heard = LoopDispatcher(), asyncio.new_event_loop(), []
    closed.close()
    dispatcher.call_soon(closed, lambda: heard.append("late"))

    async def listen():
        dispatcher.call_soon(asyncio.get_running_loop(), lambda: heard.append("word"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(listen())
    assert heard == ["word"]
