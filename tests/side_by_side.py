"""Pieces digested in this process, as in any number of others: what they take and give goes through pickle."""

from __future__ import annotations

import pickle
from concurrent.futures import Future

from udpprobe.errors import UdpprobeError
from udpprobe.workers import Job


class CrewOfOne:
    """In a `Crew`'s place: does everything at once, and counts what it was given."""

    most_grain = 1

    def __init__(self, count):
        self.count = count
        self.is_stopped = False
        self.given = []
        type(self).last = self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def give(self, function, *arguments):
        self.given.append(pickle.loads(pickle.dumps(arguments)))
        future = Future()
        try:
            future.set_result(pickle.loads(pickle.dumps(function(*self.given[-1]))))
        except UdpprobeError as error:
            future.set_exception(error)
        return Job((function, arguments), future)

    @staticmethod
    def result(job, look):
        look()
        return job.future.result()

    def forget(self, job):
        pass

    def stop(self):
        self.is_stopped = True
