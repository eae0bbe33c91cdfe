// A mail server that accepts everything: STARTTLS, XOAUTH2, PIPELINING. It says on its second port what arrived.
//
//   node sink.mjs CERTIFICATE KEY        prints {"smtp": PORT, "http": PORT}
//   GET /       {messages, connections, open, most: open connections of one user at most, twice: messages that arrived twice,
//               cpu: its processor time since it was told to forget, in milliseconds}
//   GET /times  [[subject, milliseconds since 1970], ...]
//   POST /      forgets everything

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { SMTPServer } from 'smtp-server';

const now = () => performance.timeOrigin + performance.now();
let seen;
let used;
const forget = () => {
    used = process.cpuUsage();
    seen = { messages: 0, connections: 0, users: new Map(), most: 0, times: [], subjects: new Map() };
};
forget();

const smtp = new SMTPServer({
    cert: readFileSync(process.argv[2]),
    key: readFileSync(process.argv[3]),
    name: 'localhost',
    authMethods: ['XOAUTH2', 'PLAIN'],
    disableReverseLookup: true,
    onConnect(session, callback) {
        seen.connections += 1;
        callback();
    },
    onAuth(auth, session, callback) {
        const user = auth.username;
        const open = (seen.users.get(user) ?? 0) + 1;
        seen.users.set(user, open);
        seen.most = Math.max(seen.most, open);
        session.counted = user;
        callback(null, { user });
    },
    onClose(session) {
        if (session.counted) seen.users.set(session.counted, seen.users.get(session.counted) - 1);
    },
    onData(stream, session, callback) {
        let head = '';
        stream.on('data', chunk => {
            if (head.length < 4096) head += chunk.toString('latin1');
        });
        stream.on('end', () => {
            const subject = /^subject: (.*)$/im.exec(head)?.[1]?.trim() ?? '';
            seen.messages += 1;
            seen.times.push([subject, now()]);
            seen.subjects.set(subject, (seen.subjects.get(subject) ?? 0) + 1);
            callback(null, 'accepted');
        });
    },
});
smtp.on('error', () => {});

const http = createServer((request, response) => {
    if (request.method === 'POST') {
        const open = seen.users;
        forget();
        seen.users = open;
        return response.end('{}');
    }
    if (request.url === '/times') return response.end(JSON.stringify(seen.times));
    const { messages, connections, most, users, subjects } = seen;
    const open = [...users.values()].reduce((sum, count) => sum + count, 0);
    const { user, system } = process.cpuUsage(used);
    const twice = [...subjects.values()].filter(count => count > 1).length;
    return response.end(JSON.stringify({ messages, connections, most, open, twice, cpu: (user + system) / 1000 }));
});

// The one who asks waits for other programs in between, and keeps its connection.
http.keepAliveTimeout = 0;
smtp.listen(0, '127.0.0.1', () => {
    http.listen(0, '127.0.0.1', () => {
        console.log(JSON.stringify({ smtp: smtp.server.address().port, http: http.address().port }));
    });
});
