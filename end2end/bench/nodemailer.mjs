// nodemailer's pool, one for each mailbox, as a measure for the outbox.
//
//   node nodemailer.mjs send PORT CA MAILBOXES MESSAGES BYTES      {milliseconds, cpu, rss}
//   node nodemailer.mjs latency PORT CA MESSAGES BYTES PAUSE       [[subject, milliseconds since 1970], ...]

import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { createTransport } from 'nodemailer';

const [, , mode, port, ca, ...rest] = process.argv;
const pool = user =>
    createTransport({
        host: '127.0.0.1',
        port: Number(port),
        secure: false,
        requireTLS: true,
        pool: true,
        maxConnections: 3,
        maxMessages: Infinity,
        tls: { ca: readFileSync(ca), servername: 'localhost' },
        auth: { type: 'OAuth2', user, accessToken: 'x'.repeat(1500) },
    });
const message = (user, subject, bytes) => ({ from: user, to: 'other@demo.example', subject, text: 'Text. '.repeat(bytes / 6) });

if (mode === 'send') {
    const [mailboxes, messages, bytes] = rest.map(Number);
    const pools = Array.from({ length: mailboxes }, (_, at) => [pool(`m${at}@demo.example`), `m${at}@demo.example`]);
    const [began, cpu] = [performance.now(), process.cpuUsage()];
    await Promise.all(
        Array.from({ length: messages }, (_, at) => {
            const [sender, user] = pools[at % mailboxes];
            return sender.sendMail(message(user, `bench ${at}`, bytes));
        }),
    );
    const used = process.cpuUsage(cpu);
    const result = {
        milliseconds: performance.now() - began,
        cpu: (used.user + used.system) / 1000,
        rss: process.memoryUsage().rss,
    };
    console.log(JSON.stringify(result));
    pools.forEach(([sender]) => sender.close());
} else {
    const [messages, bytes, pause] = rest.map(Number);
    const sender = pool('m0@demo.example');
    const times = [];
    for (let at = 0; at < messages; at += 1) {
        const subject = `bench ${at}`;
        times.push([subject, performance.timeOrigin + performance.now()]);
        await sender.sendMail(message('m0@demo.example', subject, bytes));
        await sleep(pause);
    }
    console.log(JSON.stringify(times));
    sender.close();
}
