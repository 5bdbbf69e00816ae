"""Work that is handed out: to one process per device, to a pool, to many machines.

`job` is what a process gets and does. `plan` makes parcels of what is to be done. `dealing` hands
them to an executor and takes reports in. `shared` is what all jobs of a run have in common.
`executors` is what an executor says of itself, and `stored` what a lost process had stored.
`forked` is for processes in which torch does not work, and `messages` takes what others log.
`devices` is an executor of one process per device, and `seat` is what such a process knows of its
device. `sharing` is for an image that is most of the work.

What needs torch is imported late, so that a new process can say first how many threads it takes.
"""

from typing import TYPE_CHECKING

from kernelkit.lazy import lazily

if TYPE_CHECKING:
    from kernelkit.predict.jobs.dealing import deal
    from kernelkit.predict.jobs.devices import DeviceProcesses, devices_of, processes_on
    from kernelkit.predict.jobs.job import Done, Job, do

__all__ = ["DeviceProcesses", "Done", "Job", "deal", "devices_of", "do", "processes_on"]

__getattr__ = lazily(
    __name__,
    {
        "dealing": ("deal",),
        "devices": ("DeviceProcesses", "devices_of", "processes_on"),
        "job": ("Done", "Job", "do"),
    },
)
