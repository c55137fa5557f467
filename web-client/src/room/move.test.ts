import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isReady, Moves } from './move.ts';

test('a higher move replaces a lower one, the same is not begun twice', () => {
  const moves = new Moves();
  assert.equal(moves.onMove(2, false), 'begin');
  assert.equal(moves.onMove(2, false), 'ignore');
  assert.equal(moves.onMove(1, true), 'ignore');
  assert.equal(moves.onMove(3, false), 'begin');
});

test('a move whose connection is lost meanwhile is hurried on, once', () => {
  const moves = new Moves();
  moves.onMove(1, false);
  assert.equal(moves.onMove(1, true), 'begin');
  assert.equal(moves.onMove(1, true), 'ignore');
});

test('what failed is begun again, what is done is only said again', () => {
  const moves = new Moves();
  moves.onMove(1, false);
  moves.onGivenUp();
  assert.equal(moves.onMove(1, false), 'begin');
  moves.onDone(1);
  assert.equal(moves.onMove(1, false), 'again');
  assert.equal(moves.onMove(2, false), 'begin');
});

test('the new connection is used once media flows over it', () => {
  const at = (connectedFor: number, received: number, missing: number, lost = false) =>
    isReady({ connected: true, connectedFor, received, missing }, lost);
  assert.equal(isReady({ connected: false, connectedFor: 0, received: 0, missing: 0 }, true), false);
  assert.equal(at(0, 0, 0), true, 'nothing was received before');
  assert.equal(at(0, 0, 2), false);
  assert.equal(at(0, 0, 2, true), true, 'nothing to lose');
  assert.equal(at(500, 1, 1), false, 'pictures may still come');
  assert.equal(at(1_000, 1, 1), true);
  assert.equal(at(2_900, 0, 2), false);
  assert.equal(at(3_000, 0, 2), true);
});
