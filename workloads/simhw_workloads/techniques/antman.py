"""AntMan: the products of an LSTM become block-diagonal ones with a bottleneck, and a trained LSTM teaches them.

The student starts from random cells; embedding and head are the teacher's.  Source: arXiv 1910.01740; spec page
techniques.md, 2.4.
"""

import copy
from dataclasses import replace

import torch
from torch import nn

from simhw_workloads.data.text import characters, vocabulary_of
from simhw_workloads.distillation import StateDistillation, answers_apart
from simhw_workloads.models.block_lstm import in_blocks
from simhw_workloads.models.lstm import LstmModel
from simhw_workloads.techniques.text import LSTM, lstm_schedule, lstm_sizes
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds

BLOCKS, REDUCTION = 4, 2
STATES, ANSWERS = 1.0, 1.0
"""Weights of both distances to the teacher."""
TEACHER_TRAINS = 4
"""Times as many steps as the student.  With as many it is worse than a student that learns alone (2.92 bits for
2.61), and teaching harms.
"""


def antman(run: Run) -> nn.Module:
    """An LSTM, and one of block products that it teaches."""
    return learnt(run, whole(run))


def whole(run: Run) -> LstmModel:
    """The teacher."""
    sizes = lstm_sizes(run)
    task = characters(sizes.window)
    run.seeded()
    model = LstmModel(vocabulary_of(task), sizes.embedding, sizes.hidden)
    longer = replace(lstm_schedule(run), steps=TEACHER_TRAINS * lstm_schedule(run).steps)
    run.fit("teacher", model, task, longer, batch=sizes.batch)
    run.note(teacher=run.score("teacher", model, task, limit=run.pick(100, 1000)))
    return model


def learnt(run: Run, teacher: LstmModel, taught: bool = True) -> nn.Module:
    """The student, which the teacher teaches, or which learns alone.

    The record notes how far its answers are from the teacher's on held-out text, in nats.
    """
    sizes, limit = lstm_sizes(run), run.pick(100, 1000)
    task = characters(sizes.window)
    run.seeded()
    student = in_blocks(copy.deepcopy(teacher), run.pick(2, BLOCKS), REDUCTION)
    run.note_size(student)
    hooks = [StateDistillation(teacher, STATES, ANSWERS)] if taught else []
    run.fit("student", student, task, lstm_schedule(run), batch=sizes.batch, hooks=hooks)
    run.score("student", student, task, limit=limit)
    held_out = task.rows(torch.arange(min(limit, task.tests)), train=False)
    with torch.no_grad():
        run.note(answers_from_teacher=float(answers_apart(student(held_out.inputs), teacher(held_out.inputs))))
    return student


WORKLOADS = (
    replace(
        LSTM,
        name="antman",
        summary=f"an LSTM whose products have {BLOCKS} blocks and a bottleneck, taught by the whole one",
        family="low rank",
        technique=f"AntMan, {BLOCKS} blocks, bottleneck of 1 / {REDUCTION}",
        train=antman,
        phases=("teacher", "student"),
        baseline=LSTM.name,
        paper="arXiv 1910.01740",
        headline="up to 100 times less computation with under 1 point lost; 5 times fewer parameters at equal accuracy",
        # The teacher runs forward, in LSTM cells; the student's cells are grouped convolutions.
        signature=replace(
            LSTM.signature,
            macs=Bounds(0.4, 0.9),
            input_grad=Bounds(0.1, 0.4),
            weight_grad=Bounds(0.1, 0.4),
            kinds=frozenset({"conv1d", "lstm"}),
        ),
        budget_s=600,
        # Rooflines know a recurrent layer whole, as one operator.  Beside it block cells step by step would show how
        # many operators are launched, and not what they compute.
        shapes=None,
    ),
)
