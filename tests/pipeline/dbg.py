import asyncio, sys, tempfile

sys.path.insert(0, "/tmp/wt-shield/tests")
import torch

torch.set_num_threads(1)
from pathlib import Path
import oracle
from oracle import *
from oracle import _train_pipeline
from shieldwall.models.families import TinyShape
from shieldwall.models.tiny import write_tiny
import conftest, inspect
from shieldwall.pipeline.mailbox import Mailbox

orig = Mailbox.pump
WAIT = {}


async def pump(self, slot):
    WAIT[self._endpoint.name] = slot
    r = await orig(self, slot)
    WAIT.pop(self._endpoint.name, None)
    return r


Mailbox.pump = pump


async def main(case, folder):
    t = asyncio.create_task(_train_pipeline(case, folder))
    done, _ = await asyncio.wait([t], timeout=8)
    if not done:
        for k, v in WAIT.items():
            print(k, "waits for", v, "attempt", v.attempt)
        hosts = case.hosts()
        p = make_plan(case.schedule, case.stages, case.micro_batches, hosts, when=case.when)
        for l in p.lanes:
            print(l.host, " ".join(map(str, l.actions)))
        for task in asyncio.all_tasks():
            if task.get_name() in WAIT:
                continue
            task.print_stack()
        import os

        os._exit(1)
    else:
        r = t.result()
        print("ok", r.court.verdicts, r.court.alerts, r.rerun)


if __name__ == "__main__":
    pass
    folder = Path(tempfile.mkdtemp())
    write_tiny("gpt2", TinyShape(layers=6, width=32, heads=4, vocabulary=97, positions=64, end_token=0), 0, folder)
    kw = dict(stages=4, schedule="1f1b", when="before_use", steps=3)
    kw.update(eval("dict(%s)" % (sys.argv[1] if len(sys.argv) > 1 else "")))
    asyncio.run(main(Case(family="gpt2", **kw), folder))
