"""`Replicas`: copies of an ensemble on several devices, which answer side by side.

>>> from tempfile import TemporaryDirectory
>>> import numpy as np, segmentation_models_pytorch
>>> models = TemporaryDirectory()
>>> segmentation_models_pytorch.Unet("resnet18", encoder_weights=None).save_pretrained(models.name)
>>> replicas = Replicas.on(["cpu", "cpu"], MegaModel(models.name, device="cpu"))
>>> tiles = np.zeros((2, 3, 64, 64), np.uint8)
>>> answers = [replicas.ask(lambda model: model.preprocess_and_infer(tiles)) for _ in range(4)]
>>> [answer.result().shape for answer in answers]
[(2, 1, 64, 64), (2, 1, 64, 64), (2, 1, 64, 64), (2, 1, 64, 64)]
>>> replicas.close()
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch

from kernelkit.ensemble.megamodel import MegaModel
from kernelkit.ensemble.notes import Notes
from kernelkit.ensemble.turns import together
from kernelkit.errors import DeviceError, NotFiniteError, as_sentence
from kernelkit.vocabulary import GiveUp

__all__ = ["Replicas"]


class Replicas:
    """Copies of an ensemble, of which each question gets one that is free.

    One copy alone is asked in the caller's thread. Several have a thread each.

    Parameters
    ----------
    copies
        One per device, at least one.
    notes
        Takes what goes otherwise.

    Attributes
    ----------
    copies
        Those whose devices work.
    in_flight
        So many questions keep all copies busy while another one's answer is looked at.
    """

    def __init__(self, copies: Sequence[MegaModel], notes: Notes | None = None) -> None:
        self.copies = self._all = tuple(copies)
        self.in_flight = 2 * len(copies) - 1
        self._notes = notes or Notes()
        self._free = list(copies)
        self._changed = threading.Condition()
        self._cores = torch.get_num_threads()
        self._threads: ThreadPoolExecutor | None = None
        if len(copies) > 1:
            on_cpu = sum(copy.device.type == "cpu" for copy in copies)
            share = max(1, self._cores // max(1, on_cpu))
            self._threads = ThreadPoolExecutor(
                len(copies), "kernelkit-replica", torch.set_num_threads, (share,)
            )

    @classmethod
    def on(cls, devices: Sequence[str], model: MegaModel) -> "Replicas":
        """Copies of a model, one per device. It is one of them if it is on one of the devices.

        If it is on none, it gives its device's memory back. A copy that cannot be loaded is left
        out, and a note says so.

        Raises
        ------
        CheckpointError, DeviceError, RecipeError
            None can be loaded.
        """
        notes, copies = Notes(), list[MegaModel]()
        for number, device in enumerate(devices, 1):
            try:
                is_there = torch.device(device) == model.device and model not in copies
                copies.append(model if is_there else MegaModel(**model.arguments, device=device))
            except Exception as error:  # another name for it would keep what was loaded alive
                if number == len(devices) and not copies:
                    raise
                notes.add(f"{device} is not used, because: {as_sentence(error)}")
        if model not in copies and model.device.type == "cuda":
            model.leave_device()
        return cls(copies, notes)

    @property
    def model(self) -> MegaModel:
        """A copy whose device works. All such copies are asked alike."""
        return self.copies[0]

    @property
    def cost(self) -> float:
        """How much a tile costs now, as `MegaModel.cost` has it."""
        return self.model.cost

    @property
    def notes(self) -> list[str]:
        """What did not go as requested, one sentence each."""
        of_copies = [note for copy in self._all for note in copy.notes]
        return list(dict.fromkeys([*self._notes.sentences, *of_copies]))

    def ask[T](self, question: Callable[[MegaModel], T]) -> "Future[T]":
        """Have a question answered by the next copy that is free.

        Questions begin in their order. If a copy's device fails, another copy answers. A copy alone
        has answered, or raised its error, when this returns.
        """
        if self._threads is not None:
            return self._threads.submit(self._answer, question)
        answered: Future[T] = Future()
        answered.set_result(question(self.copies[0]))
        return answered

    def give_up(self, copy: MegaModel, error: Exception) -> bool:
        """Ask a copy no more, since its device failed. False if it is the last one.

        A GPU may fail after it has answered, while the answer is on its way. Whoever waits for that
        says so here, and asks again.
        """
        with self._changed:
            others = tuple(other for other in self.copies if other is not copy)
            if not others:
                return False
            is_new, self.copies = len(others) < len(self.copies), others
            self._free = [free for free in self._free if free is not copy]
            self._changed.notify_all()
        if is_new:
            reason = as_sentence(error)
            self._notes.add(f"{copy.device} is not used any more, because: {reason}")
        return True

    def ask_less(self, what: GiveUp) -> bool:
        """Ask less of each copy, as `MegaModel.ask_less` does, once all are free."""
        with self._all_free():
            asked = [copy.ask_less(what) for copy in self.copies]
        return any(asked)

    def ask_all(self) -> None:
        """Ask all members in all views again."""
        with self._all_free():
            for copy in self.copies:
                copy.ask_all()

    def close(self) -> None:
        """End the threads, once all questions are answered."""
        if self._threads is not None:
            self._threads.shutdown()
            torch.set_num_threads(self._cores)

    def _answer[T](self, question: Callable[[MegaModel], T]) -> T:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._free)
                copy = self._free.pop(0)
            try:
                with together(copy.device):
                    return question(copy)
            except NotFiniteError:
                raise
            except (DeviceError, torch.AcceleratorError) as error:
                if not self.give_up(copy, error):
                    raise
            finally:
                self._give_back(copy)

    def _give_back(self, copy: MegaModel) -> None:
        with self._changed:
            if copy in self.copies:
                self._free.append(copy)
            self._changed.notify_all()

    @contextmanager
    def _all_free(self) -> Iterator[None]:
        """Wait until no copy is busy, and let none begin for the length of a `with` block."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._free) == len(self.copies))
            yield
