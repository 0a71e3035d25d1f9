"""Explanations, one at a time in the whole service, by a process that is started when one is asked for."""

import logging
import time
from pathlib import Path

import gevent
import numpy as np
from gevent.event import AsyncResult
from gevent.lock import BoundedSemaphore

from models.insight.explanation import Explanation
from models.insight.layers import Drawn
from models.insight.similar import Similar
from service.errors import DeadlineExceeded, NotFound, NotReady, Overloaded, Unprocessable
from service.explain.messages import Question, Reply
from service.explain.process import ExplainerDied, ExplainerProcess
from service.ipc.turn import Turn
from service.loops import repeat

log = logging.getLogger(__name__)

MOST_WAITING = 4  # of each HTTP worker
IDLE_S = 60  # after which the process is ended
ATTEMPTS = 2  # each with a new process; the one that was there may have been killed meanwhile
REST_S = 0.5  # before the next one: to receive and decode its image takes time that answers need
HANG_S = 300  # for one explanation; a large network is loaded at the first, in time that others leave
LOOK_S = 5.0  # between looks whether it is idle
COMPUTING = 0.7  # of the time until the deadline; what is begun then needs a little more, and so does the answer
LATE = "There was no explanation in time: they take only processor time that nothing else needs. Try again later."
SLOW = (
    "Explaining this network takes longer than the time limit: only {} of at least 100 partly covered images were "
    "computed. The operator can raise SERVICE_DEADLINE_S."
)
UNREADABLE = "This version cannot be explained: OpenVINO, which computes explanations, cannot read it."


class Waiting:
    """A question, and whether somebody still waits for its answer; once it is computed, it is to the end."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.answer = AsyncResult()
        self.is_computed = self.is_given_up = False


class Explainer:
    """
    Args:
        lock: a file that all HTTP workers of the service have.
    """

    def __init__(self, lock: Path) -> None:
        self._turn = Turn(lock)
        self._mine = BoundedSemaphore(1)  # the file's lock is one for the whole worker
        self._process: ExplainerProcess | None = None
        self._num_waiting = 0
        self._last_used = 0.0
        gevent.spawn(repeat, self._end_idle, every_s=LOOK_S)

    def explain(
        self, bundle: Path, image: np.ndarray, index: int | None, deadline: float, *, is_multi: bool
    ) -> Explanation:
        """
        Args:
            image: uint8 (H, W, C), of the network's shape.
            index: of the class; None for the most probable one.
            deadline: in seconds of CLOCK_MONOTONIC.
            is_multi: an image has any number of labels.

        Raises:
            ServiceError: as `_wait_for`; Unprocessable, too, if too few masks can be computed in the time.
        """
        question = Question("explanation", str(bundle), image.shape, image.tobytes(), index, deadline, is_multi)
        found = self._wait_for(question).explanation
        assert found is not None
        return found

    def similar(self, bundle: Path, image: np.ndarray, deadline: float) -> list[Similar]:
        """The training images that the network finds most similar, of those that the bundle shows.

        Raises:
            ServiceError: as `_wait_for`; NotFound if it shows none.
        """
        question = Question("similar", str(bundle), image.shape, image.tobytes(), None, deadline, is_multi=False)
        found = self._wait_for(question).similar
        assert found is not None
        return found

    def layers(self, bundle: Path, image: np.ndarray, deadline: float) -> list[Drawn]:
        """What each stage of the network makes of the image.

        Raises:
            ServiceError: as `_wait_for`; NotFound if the bundle has no table of its layers.
        """
        question = Question("layers", str(bundle), image.shape, image.tobytes(), None, deadline, is_multi=False)
        found = self._wait_for(question).layers
        assert found is not None
        return found

    def _wait_for(self, question: Question) -> Reply:
        """
        Raises:
            Overloaded: too many wait.
            DeadlineExceeded: it took too long.
            Unprocessable: OpenVINO cannot read the network.
            NotReady: the process could not be started, or ends each time.
        """
        if self._num_waiting >= MOST_WAITING:
            raise Overloaded("Too many explanations are waiting. Try again later.")
        waiting = Waiting(question)
        self._num_waiting += 1
        greenlet = gevent.spawn(self._answer, waiting)
        try:
            with gevent.Timeout(max(0.0, question.until - time.monotonic()), DeadlineExceeded(LATE)):
                found: Reply = waiting.answer.get()
                return found
        finally:
            waiting.is_given_up = True
            if not waiting.is_computed:
                greenlet.kill(block=False)

    def _answer(self, waiting: "Waiting") -> None:
        """In a greenlet of its own, so that a network is loaded to the end for the next who asks."""
        try:
            with self._mine:
                self._answer_in_turn(waiting)
        except Exception as error:
            waiting.answer.set_exception(error)
        finally:
            self._num_waiting -= 1

    def _answer_in_turn(self, waiting: "Waiting") -> None:
        question = waiting.question
        if not self._turn.take(question.until, lambda: waiting.is_given_up):
            raise DeadlineExceeded(LATE)
        try:
            waiting.is_computed = True
            now = time.monotonic()
            question.until = now + COMPUTING * (question.until - now)
            waiting.answer.set(accepted(self._ask(question)))
            gevent.sleep(REST_S)
        finally:
            self._turn.release()

    def _ask(self, question: Question) -> Reply:
        for _ in range(ATTEMPTS):
            try:
                with gevent.Timeout(HANG_S, ExplainerDied(f"no answer within {HANG_S} s")):
                    reply = self._running().ask(question)
            except ExplainerDied as died:
                log.error("the process that explains has ended: %s", died)
                self._end()
            else:
                self._last_used = time.monotonic()
                return reply
        raise NotReady("The process that explains ends whenever this is asked.")

    def _running(self) -> ExplainerProcess:
        if self._process is None:
            try:
                self._process = ExplainerProcess()
            except OSError as error:
                log.error("the process that explains could not be started: %s", error)
                raise NotReady("Nothing can be explained now. Try again later.") from None
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.close()

    def _end_idle(self) -> None:
        if self._process is not None and time.monotonic() - self._last_used > IDLE_S and self._mine.acquire(False):
            try:
                self._end()
            finally:
                self._mine.release()


def accepted(reply: Reply) -> Reply:
    """
    Raises:
        Unprocessable, NotFound: it is a refusal.
    """
    if reply.refusal is not None:
        if reply.refusal.kind == "none":
            raise NotFound(reply.refusal.reason)
        if reply.refusal.kind == "slow":
            raise Unprocessable(SLOW.format(reply.refusal.reason), code="explanation_too_costly")
        log.warning("a version cannot be explained: %s", reply.refusal.reason)
        raise Unprocessable(UNREADABLE, code="not_explainable")
    return reply
