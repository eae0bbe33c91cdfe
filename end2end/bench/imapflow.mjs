// Holds one imapflow connection for each mailbox, in IDLE, until it is killed.
//
//   node imapflow.mjs PORT CA FILE      FILE: [[name, token], ...]

import { readFileSync } from 'node:fs';
import { ImapFlow } from 'imapflow';

const [, , port, ca, file] = process.argv;
const tls = { ca: readFileSync(ca), servername: 'localhost' };
const waiting = JSON.parse(readFileSync(file, 'utf8'));

async function connect() {
    for (let next = waiting.pop(); next; next = waiting.pop()) {
        const [user, accessToken] = next;
        const client = new ImapFlow({ host: '127.0.0.1', port: Number(port), secure: true, tls, auth: { user, accessToken }, logger: false });
        client.on('error', () => {});
        await client.connect();
        await client.mailboxOpen('INBOX');
        void client.idle();
    }
}

await Promise.all(Array.from({ length: 20 }, connect));
setInterval(() => {}, 1 << 30);
