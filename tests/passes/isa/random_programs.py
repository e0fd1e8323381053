"""Random tile programs: nested loops, run-time trip counts, token ids, long scalar lives, more pointers than registers."""

from __future__ import annotations

from random import Random

import numpy as np
from xdsl.ir import SSAValue

from plena_mlir.dialects import plena_tile as pt
from plena_mlir.passes.tile.emitter import Index
from tests.tile_programs import Program

ROWS = 64
WORDS = 64
IDS = 16
_Environment = list[tuple[Index, int]]
"""Indices in scope and their greatest values."""


class RandomProgram:
    """A program made from a seed; `program` and the token `ids` it reads.

    Args:
        depth: greatest nesting of loops.
        statements: most statements per block.
        buffers: Vector SRAM buffers, each reached by pointers of its own where factors differ.
    """

    def __init__(self, seed: int, depth: int, statements: int, buffers: int) -> None:
        self.random = Random(seed)
        self.statements = statements
        self.program = Program()
        values = np.random.default_rng(seed)
        self.ids = values.integers(0, 4, IDS).tolist()
        rows = (values.integers(-3, 4, (1, ROWS, 8)) / 4).astype(np.float32)
        self.source = self.program.hbm("x", (1, ROWS, 8), rows, pt.Precision.ACT)
        self.buffers = [self.program.rows(1, ROWS, "output" if number == 0 else None) for number in range(buffers)]
        self.words = self.program.alloc(pt.Space.FPRAM, [WORDS])
        self.integers = self.program.alloc(pt.Space.INTRAM, [IDS], "ids")
        for buffer in self.buffers:
            self.program.load_block(self.source, buffer, ROWS)
        start = self.program.constant(1.5)
        with self.program.loop(WORDS) as word:
            self.program.add(pt.StoreScalarOp(start, self.program.at(self.words, word)))
        for _ in range(3):
            self._block([], [], depth)

    def _index(self, environment: _Environment, limit: int) -> Index:
        """A random affine function of what is in scope, from 0 to `limit`."""
        index, room = Index(0), limit
        for value, greatest in self.random.sample(environment, len(environment)):
            factor = self.random.choice([0, 0, 1, 1, 2, 3, 5])
            if factor and factor * greatest <= room:
                index, room = index + value * factor, room - factor * greatest
        return index + self.random.randint(0, room)

    def _row(self, environment: _Environment, reach: int = 1) -> SSAValue:
        return self.program.at(self.random.choice(self.buffers), 0, self._index(environment, ROWS - reach), 0)

    def _scalar(self, environment: _Environment, scalars: list[SSAValue]) -> SSAValue:
        chance = self.random.random()
        if scalars and chance < 0.6:
            return self.random.choice(scalars)
        if chance < 0.8:
            return self.program.constant(self.random.choice([0.0, 0.5, -1.0, 0.125, 3e-9, 1e20]))
        return self.program.add(pt.LoadScalarOp(self.program.at(self.words, self._index(environment, WORDS - 1)))).result

    def _block(self, environment: _Environment, scalars: list[SSAValue], depth: int) -> None:
        program, random = self.program, self.random
        scalars, environment = list(scalars), list(environment)
        for _ in range(random.randint(1, self.statements)):
            chance = random.random()
            if chance < 0.25:
                kind = random.choice([pt.RowBinary.ADD, pt.RowBinary.SUB])
                program.add(pt.RowBinaryOp(kind, self._row(environment), self._row(environment), self._row(environment)))
            elif chance < 0.4:
                bound = program.constant(random.choice([-4.0, 4.0, 8.0]))
                kind = random.choice([pt.RowScalar.MAX, pt.RowScalar.MIN])
                program.add(pt.RowScalarOp(kind, self._row(environment), self._row(environment), bound))
            elif chance < 0.5:
                kind = random.choice([pt.RowReduce.MAX, pt.RowReduce.SUM])
                scalars.append(program.reduce(kind, self._scalar(environment, scalars), self._row(environment)))
            elif chance < 0.6:
                kind = random.choice([pt.ScalarBinary.MAX, pt.ScalarBinary.MAX, pt.ScalarBinary.SUB])
                scalars.append(program.scalar(kind, self._scalar(environment, scalars), self._scalar(environment, scalars)))
            elif chance < 0.65:
                place = program.at(self.words, self._index(environment, WORDS - 1))
                program.add(pt.StoreScalarOp(self._scalar(environment, scalars), place))
            elif chance < 0.7:
                program.add(pt.RowShiftOp(self._row(environment), self._row(environment), random.randint(0, 9)))
            elif chance < 0.74:
                place = program.at(self.integers, self._index(environment, IDS - 1))
                environment.append((Index.of(program.add(pt.LoadIndexOp(place)).result), 3))
            elif chance < 0.78:
                source = program.at(self.source, 0, self._index(environment, ROWS - 4), 0)
                program.add(pt.LoadRowsOp(source, self._row(environment, reach=4)))
            elif chance < 0.8:
                half = program.constant(0.5)
                program.add(pt.RowScalarOp(pt.RowScalar.MUL, self._row(environment), self._row(environment), half))
            elif depth > 0:
                self._loop(environment, scalars, depth)

    def _loop(self, environment: _Environment, scalars: list[SSAValue], depth: int) -> None:
        if self.random.random() < 0.25:
            count = self.random.randint(3, 4)
            with self.program.loop(count, start=1) as outer:
                with self.program.loop(outer.terms[0][0]) as inner:
                    self._block([*environment, (outer, count - 1), (inner, count - 2)], scalars, depth - 2)
                self._block([*environment, (outer, count - 1)], scalars, depth - 2)
            return
        start, step, trips = self.random.choice([0, 0, 1]), self.random.choice([1, 1, 2]), self.random.randint(1, 4)
        with self.program.loop(start + step * trips, start=start, step=step) as index:
            in_scope = [(index, start + step * (trips - 1))] if index.terms else []
            self._block([*environment, *in_scope], scalars, depth - 1)
