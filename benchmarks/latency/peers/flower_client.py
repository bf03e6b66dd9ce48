"""The client of Flower's PyTorch quickstart, tuned: one torch thread an actor, batches cut from
tensors without a ``DataLoader``, data mapped from disk, the model built once in an actor."""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from benchmarks.latency.peers.load import Load, Plain

app = ClientApp()


@functools.cache
def _opened(folder: str) -> tuple[Load, Plain]:
    torch.set_num_threads(1)
    load = Load(Path(folder))
    return load, load.module()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Some local steps from the parameters that came."""
    load, module = _opened(str(message.content["config"]["load"]))
    settings = load.settings
    inputs, labels = load.client(int(context.node_config["partition-id"]))
    module.load_state_dict(message.content["arrays"].to_torch_state_dict())
    optimizer = torch.optim.SGD(module.parameters(), lr=settings["learning_rate"])
    rows = torch.randperm(len(labels)).split(settings["batch_size"])[: settings["steps"]]
    for batch in rows:
        optimizer.zero_grad()
        loss = module.loss(inputs[batch], labels[batch])
        loss.backward()
        optimizer.step()
    content = RecordDict(
        {
            "arrays": ArrayRecord(module.state_dict()),
            "metrics": MetricRecord({"num-examples": len(labels)}),
        }
    )
    return Message(content=content, reply_to=message)
