import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { dismiss, everyoneSeesAndHears, gather, type Guest } from './support/gathering.ts';
import { type Server, startServer } from './support/server.ts';

let server: Server;
let guests: Guest[];

before(async () => {
  server = await startServer();
  guests = await gather(3, { tcpOnly: true });
});

after(async () => {
  await dismiss(guests ?? []);
  await server?.stop();
});

test('three browsers meet over ICE-TCP where UDP is refused', async () => {
  const { join_url } = await server.createMeeting();
  for (const { person } of guests) await person.join(join_url);
  await everyoneSeesAndHears(guests);
  for (const { person } of guests) assert.equal(await person.protocol(), 'tcp/tcp');
});
