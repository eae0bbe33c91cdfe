// Compares Entrepost with what people would use instead: in turns, in the same run, on loopback.
//
//   node run.mjs            everything, five rounds; writes RESULTS.md
//   node run.mjs SECTION…   some of it, with the same sizes; the other sections of RESULTS.md stay as they were measured
//   node run.mjs --quick    one round of fewer messages, printed
//   node run.mjs --tiny     each measurement once with a handful of messages: only whether it works

import { spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync, fdatasyncSync, mkdtempSync, openSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { createServer } from 'node:net';
import { cpus, release, tmpdir, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { report } from './report.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '..', '..');
const mode = ['--tiny', '--quick'].find(flag => process.argv.includes(flag))?.slice(2) ?? 'full';
const only = process.argv.slice(2).filter(argument => !argument.startsWith('--'));
const sizes = {
    full: { rounds: 5, one: 2000, twenty: 4000, form: 2000, relay: 2000, relayConnections: 20, idle: 500, latency: 200, memory: 20000, scale: [1e2, 1e3, 1e4, 1e5, 1e6], scaled: 3, starts: 11, watched: 1000, replicas: 12000 },
    quick: { rounds: 1, one: 1000, twenty: 2000, form: 500, relay: 500, relayConnections: 20, idle: 500, latency: 40, memory: 1000, scale: [1e2, 1e3], scaled: 1, starts: 3, watched: 50, replicas: 1000 },
    tiny: { rounds: 1, one: 6, twenty: 20, form: 20, relay: 20, relayConnections: 4, idle: 5, latency: 3, memory: 20, scale: [100], scaled: 1, starts: 1, watched: 3, replicas: 20 },
}[mode];

/** Deadline of one measurement, in milliseconds. */
const LIMIT = 40 * 60 * 1000;
const work = mkdtempSync(join(tmpdir(), 'entrepost-bench-'));
const ending = [() => rmSync(work, { recursive: true, force: true })];
const say = text => console.error(`==> ${text}`);

function run(command, args, options = {}) {
    const done = spawnSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 1 << 28, timeout: LIMIT, killSignal: 'SIGKILL', ...options });
    if (done.error || done.status !== 0) throw new Error(`${command} ${args.join(' ')}: ${done.error ?? `status ${done.status}`}`);
    return done.stdout;
}

const median = values => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const percentile = (values, part) => [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * part))];

/** Builds the load program, and returns its path and the program's. */
function build() {
    const profile = mode === 'tiny' ? [] : ['--release'];
    const text = run('cargo', ['build', ...profile, '--package', 'server', '--bin', 'entrepost', '--bench', 'load', '--message-format', 'json'], { cwd: root });
    const made = text.split('\n').filter(line => line.startsWith('{')).map(line => JSON.parse(line));
    const path = kind => made.find(line => line.executable && line.target?.kind.includes(kind)).executable;
    return { load: path('bench'), program: made.find(line => line.executable && line.target?.name === 'entrepost' && line.target.kind.includes('bin')).executable };
}

async function freePort() {
    return new Promise(resolve => {
        const server = createServer().listen(0, '127.0.0.1', () => {
            const { port } = server.address();
            server.close(() => resolve(port));
        });
    });
}

/** A PostgreSQL server of our own, as durable as it comes: fsync and synchronous_commit are on. */
async function postgres() {
    const places = readdirSync('/usr/lib/postgresql', { withFileTypes: true }).map(entry => entry.name).sort((a, b) => a - b);
    const bin = `/usr/lib/postgresql/${places.at(-1)}/bin`;
    // It refuses to run as root.
    const asRoot = process.getuid() === 0;
    const directory = join(work, 'postgres');
    run('mkdir', [directory]);
    if (asRoot) run('chown', ['-R', 'postgres', directory]);
    run('chmod', ['755', work]);
    const as = (command, args) => (asRoot ? run('runuser', ['-u', 'postgres', '--', command, ...args], { cwd: '/' }) : run(command, args));
    const user = asRoot ? 'postgres' : run('id', ['-un']).trim();
    const data = join(directory, 'data');
    as(`${bin}/initdb`, ['-D', data, '-A', 'trust', '-U', user, '-E', 'UTF8']);
    const port = await freePort();
    const settings = `-p ${port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=${data} -c max_connections=200`;
    as(`${bin}/pg_ctl`, ['-D', data, '-w', '-l', join(directory, 'log'), 'start', '-o', settings]);
    ending.unshift(() => as(`${bin}/pg_ctl`, ['-D', data, '-m', 'immediate', 'stop']));
    const url = `postgres://${user}@127.0.0.1:${port}`;
    const query = text => run(`${bin}/psql`, ['-X', '-A', '-t', '-d', `${url}/postgres`, '-c', text]);
    /** Drops what a measurement made: a long queue takes gigabytes. */
    const clear = () => {
        for (const name of query("SELECT datname FROM pg_database WHERE datname LIKE 'test_%'").split('\n').filter(Boolean)) query(`DROP DATABASE ${name} WITH (FORCE)`);
    };
    return { url, clear, version: run(`${bin}/postgres`, ['--version']).trim() };
}

/** Starts the mail server. */
async function sink(certificate, key) {
    const child = spawn('node', [join(here, 'sink.mjs'), certificate, key], { stdio: ['ignore', 'pipe', 'inherit'] });
    ending.unshift(() => child.kill());
    const ports = await new Promise(resolve => child.stdout.once('data', data => resolve(JSON.parse(data))));
    const ask = async (path, method = 'GET') => (await fetch(`http://127.0.0.1:${ports.http}${path}`, { method })).json();
    return { port: ports.smtp, ask };
}

/** Time of an fdatasync after 4 kB, in milliseconds. */
function fdatasync() {
    const file = join(work, 'fdatasync');
    const handle = openSync(file, 'w');
    const times = Array.from({ length: 300 }, () => {
        writeSync(handle, Buffer.alloc(4096));
        const began = performance.now();
        fdatasyncSync(handle);
        return performance.now() - began;
    });
    closeSync(handle);
    return { p50: percentile(times, 0.5), p99: percentile(times, 0.99) };
}

async function main() {
    say('building');
    const { load, program } = build();
    const [certificate, key] = [join(work, 'certificate.pem'), join(work, 'key.pem')];
    run(load, ['certificate', certificate, key]);
    const mail = await sink(certificate, key);
    const database = await postgres();
    const databases = { SQLite: 'sqlite', PostgreSQL: database.url };
    const bytes = 2048;
    const entrepost = (url, ...args) => {
        const given = ['--smtp', `localhost:${mail.port}`, '--ca', certificate, '--database', url, ...args];
        const files = mkdtempSync(join(work, 'run-'));
        const answer = JSON.parse(run(load, given.map(String), { env: { ...process.env, TMPDIR: files } }));
        rmSync(files, { recursive: true, force: true });
        if (url !== 'sqlite') database.clear();
        return answer;
    };
    const nodemailer = (...args) => JSON.parse(run('node', [join(here, 'nodemailer.mjs'), args[0], mail.port, certificate, ...args.slice(1)].map(String)));
    const counted = async messages => {
        const seen = await mail.ask('/');
        if (seen.messages !== messages || seen.twice !== 0) throw new Error(`of ${messages} messages ${seen.messages} arrived, ${seen.twice} twice`);
        await mail.ask('/', 'POST');
        return seen;
    };

    const kept = join(root, 'target', 'bench.json');
    const results = { ...(mode === 'full' && only.length > 0 ? earlier(kept) : {}), mode, sizes, machine: machine(database.version), fdatasync: fdatasync() };
    results.commits ??= {};
    const keep = () => mode === 'full' && writeFileSync(kept, JSON.stringify(results));
    const wanted = name => {
        // What was measured before it stays if this fails.
        keep();
        const measured = only.length === 0 || only.includes(name);
        if (measured) results.commits[name] = results.machine.commit;
        return measured;
    };

    if (wanted('throughput')) {
        results.throughput = [];
        for (const [mailboxes, messages] of [[1, sizes.one], [20, sizes.twenty]]) {
            const row = { mailboxes, messages, nodemailer: [], SQLite: [], PostgreSQL: [] };
            for (let round = 0; round < sizes.rounds; round += 1) {
                say(`${messages} messages of ${mailboxes} mailboxes, round ${round + 1} of ${sizes.rounds}`);
                const peer = nodemailer('send', mailboxes, messages, bytes);
                const { connections, cpu: sink } = await counted(messages);
                Object.assign(peer, { connections, sink: sink / peer.milliseconds });
                row.nodemailer.push(peer);
                for (const [name, url] of Object.entries(databases)) {
                    const phase = async (...how) => {
                        const own = entrepost(url, 'send', mailboxes, messages, ...how);
                        const { connections, most, cpu } = await counted(messages);
                        if (most > 3) throw new Error(`${most} connections of one mailbox at a time`);
                        return { ...own, connections, sink: cpu / own.milliseconds };
                    };
                    row[name].push({ queued: await phase('--alone'), whole: await phase() });
                }
            }
            results.throughput.push(row);
        }
    }

    if (wanted('form')) {
        results.form = { nodemailer: [], SQLite: [], PostgreSQL: [] };
        for (let round = 0; round < sizes.rounds; round += 1) {
            say(`${sizes.form} messages through the form, round ${round + 1} of ${sizes.rounds}`);
            results.form.nodemailer.push(nodemailer('send', 20, sizes.form, bytes));
            await counted(sizes.form);
            for (const [name, url] of Object.entries(databases)) {
                results.form[name].push(entrepost(url, 'form', 20, sizes.form));
                await counted(sizes.form);
            }
        }
    }

    if (wanted('relay')) {
        results.relay = { SQLite: [], PostgreSQL: [] };
        for (let round = 0; round < sizes.rounds; round += 1) {
            for (const [name, url] of Object.entries(databases)) {
                say(`${sizes.relay} messages through the relay, ${name}, round ${round + 1} of ${sizes.rounds}`);
                results.relay[name].push(entrepost(url, 'relay', sizes.relayConnections, sizes.relay, sizes.idle));
                await counted(sizes.relay);
            }
        }
    }

    if (wanted('latency')) {
        const latency = async started => {
            const arrived = new Map(await mail.ask('/times'));
            await counted(started.length);
            return started.map(([subject, at]) => arrived.get(subject) - at);
        };
        results.latency = { nodemailer: [], SQLite: [], PostgreSQL: [] };
        for (let round = 0; round < sizes.rounds; round += 1) {
            say(`latency, round ${round + 1} of ${sizes.rounds}`);
            const [count, pause] = [sizes.latency, 20];
            const add = (name, times) => results.latency[name].push({ p50: percentile(times, 0.5), p99: percentile(times, 0.99) });
            add('nodemailer', await latency(nodemailer('latency', count, bytes, pause)));
            for (const [name, url] of Object.entries(databases)) add(name, await latency(entrepost(url, 'latency', count, pause)));
        }
    }

    if (wanted('replicas')) {
        results.replicas = [1, 2, 4].map(replicas => ({ replicas, milliseconds: [] }));
        for (let round = 0; round < sizes.rounds; round += 1) {
            say(`1, 2 and 4 replicas on one PostgreSQL, round ${round + 1} of ${sizes.rounds}`);
            for (const { replicas, milliseconds } of results.replicas) {
                milliseconds.push(entrepost(database.url, 'replicas', replicas, 20, sizes.replicas).milliseconds);
                const seen = await counted(sizes.replicas);
                if (seen.most > 3) throw new Error(`${seen.most} connections of one mailbox at a time`);
            }
        }
    }

    if (wanted('memory')) {
        results.memory = {};
        for (const [name, url] of Object.entries(databases)) {
            say(`memory, ${name}`);
            results.memory[name] = entrepost(url, 'memory', 20, sizes.memory, sizes.rounds);
            await counted(2 * sizes.memory * sizes.rounds);
        }
    }

    if (wanted('watch')) {
        say(`${sizes.watched} mailboxes watched`);
        // Dovecot has a certificate of its own.
        results.watch = JSON.parse(run(load, ['watch', String(sizes.watched), String(sizes.rounds), '--', 'node', join(here, 'imapflow.mjs')]));
    }

    if (wanted('scale')) {
        results.scale = Object.keys(databases).flatMap(database => sizes.scale.map(queued => ({ queued, database, runs: [] })));
        for (let round = 0; round < sizes.scaled; round += 1) {
            for (const { queued, database: name, runs } of results.scale) {
                say(`${queued} messages in the queue, ${name}, round ${round + 1} of ${sizes.scaled}`);
                runs.push(entrepost(databases[name], '--bytes', 256, 'scale', queued));
            }
        }
    }

    if (wanted('start')) {
        say('start');
        results.start = entrepost('sqlite', 'start', sizes.starts).milliseconds;
        results.binary = statSync(program).size;
        results.page = pageWeight();
    }

    keep();
    if (mode === 'full') {
        writeFileSync(join(here, 'RESULTS.md'), report(results, median));
        say('wrote end2end/bench/RESULTS.md');
    } else {
        console.log(report(results, median));
    }
}

/** What a browser loads for the first page, brotli, in bytes; `undefined` if the site was not built. */
function pageWeight() {
    const measured = spawnSync(join(root, '.tools', 'sizes.sh'), { encoding: 'utf8' });
    const found = /^ *(\d+) {2}JavaScript and WebAssembly/m.exec(measured.stdout);
    return found ? Number(found[1]) : undefined;
}

/** The commit that is measured; the results themselves are no change of it. */
function commit() {
    const changed = run('git', ['status', '--porcelain', '--untracked-files=no', '--', '.', ':!end2end/bench/RESULTS.md'], { cwd: root });
    return run('git', ['rev-parse', '--short', 'HEAD'], { cwd: root }).trim() + (changed ? ', changed' : '');
}

/** What was measured before on this machine. */
function earlier(file) {
    return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {};
}

function machine(postgresVersion) {
    const npm = JSON.parse(readFileSync(join(here, '..', 'package-lock.json'), 'utf8')).packages;
    const version = name => `${name} ${npm[`node_modules/${name}`].version}`;
    return {
        processor: `${cpus().length} × ${cpus()[0].model.trim()}`,
        memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
        system: `Linux ${release()}`,
        commit: commit(),
        versions: [run('rustc', ['--version']).trim(), `Node.js ${process.version}`, version('nodemailer'), version('imapflow'), version('smtp-server'), postgresVersion, `Dovecot ${run('dovecot', ['--version'], { env: { PATH: `${process.env.PATH}:/usr/sbin` } }).trim()}`],
    };
}

try {
    await main();
} finally {
    for (const end of ending) end();
}
