// The results as a page of Markdown.

const table = (head, rows) => [head, head.map(() => '---'), ...rows].map(cells => `| ${cells.join(' | ')} |`).join('\n');
const number = (value, digits = 0) => value.toLocaleString('en-GB', { minimumFractionDigits: digits, maximumFractionDigits: digits });
/** How long a polled connection is kept, in seconds (`KEEP_UNUSED` of mailbox_sync/worker.rs). */
const KEPT_SECONDS = 20;
/** What is timed with a long queue. */
const SCALED = ['enqueue', 'claim', 'quota', 'page', 'inbox'];

export function report(results, median) {
    const { mode, sizes, machine, fdatasync } = results;
    const spread = (values, digits = 0) => {
        const ordered = [...values].sort((a, b) => a - b);
        return `${number(median(values), digits)} (${number(ordered[0], digits)} to ${number(ordered.at(-1), digits)})`;
    };
    const command = name => `\`node end2end/bench/run.mjs ${name}\`, at commit ${results.commits[name]}`;
    const parts = [
        `# Results of \`make bench${mode === 'full' ? '' : `-${mode}`}\``,
        `Medians of ${sizes.rounds} rounds, and in parentheses the lowest and the highest. In each round the peers take turns on one machine, so only the ratios say something.`,
        `${machine.processor}, ${machine.memory}, ${machine.system}. ${machine.versions.join('; ')}. fdatasync after 4 kB: ${number(fdatasync.p50, 2)} ms at p50, ${number(fdatasync.p99, 2)} ms at p99. SQLite commits with \`synchronous=FULL\`, PostgreSQL with \`fsync\` and \`synchronous_commit\` on. The mail server is smtp-server on loopback: STARTTLS, XOAUTH2, PIPELINING; messages of 2 kB; pace limits lifted.`,
    ];
    if (results.throughput) {
        const rows = results.throughput.flatMap(({ mailboxes, messages, ...by }) => {
            const rate = (runs, field) => runs.map(run => (messages * 1000) / run[field]);
            const cpu = (runs, field) => runs.map(run => run[field] / messages);
            const peer = { rate: rate(by.nodemailer, 'milliseconds'), cpu: cpu(by.nodemailer, 'cpu') };
            const line = (name, rates, times, connections, sinks) => [
                `${mailboxes} mailbox${mailboxes > 1 ? 'es' : ''}, ${number(messages)} messages`,
                name,
                spread(rates),
                `${number(median(rates) / median(peer.rate), 2)}×`,
                spread(times, 2),
                `${number(median(times) / median(peer.cpu), 2)}×`,
                connections,
                `${number(median(sinks) * 100)} %`,
            ];
            const connections = runs => Math.max(...runs.map(run => run.connections));
            return [
                line('nodemailer, not durable', peer.rate, peer.cpu, connections(by.nodemailer), by.nodemailer.map(run => run.sink)),
                ...['SQLite', 'PostgreSQL'].flatMap(name =>
                    [['queued', 'queue to record'], ['whole', 'with the enqueue']].map(([phase, label]) => {
                        const runs = by[name].map(run => run[phase]);
                        return line(`Entrepost, ${name}: ${label}`, rate(runs, 'milliseconds'), cpu(runs, 'cpu'), connections(runs), runs.map(run => run.sink));
                    }),
                ),
            ];
        });
        parts.push(
            '## Messages a second',
            "CPU is that of the process that sends: SQLite is part of it, PostgreSQL's own processes are not counted. The mail server's share is its processor time by the time of the run: it is one thread, so 100 % is its limit.",
            table(['what', 'who', 'a second', 'ratio', 'CPU ms a message', 'ratio', 'connections', "the mail server's share"], rows),
            command('throughput'),
        );
    }
    if (results.form) {
        const peer = results.form.nodemailer;
        const [rate, cpu] = [run => (sizes.form * 1000) / run.milliseconds, run => run.cpu / sizes.form];
        const rows = Object.entries(results.form).map(([name, runs]) => [
            name === 'nodemailer' ? 'nodemailer, not durable, no HTTP' : `Entrepost, ${name}`,
            spread(runs.map(rate)),
            `${number(median(runs.map(rate)) / median(peer.map(rate)), 2)}×`,
            spread(runs.map(cpu), 2),
            `${number(median(runs.map(cpu)) / median(peer.map(cpu)), 2)}×`,
            name === 'nodemailer' ? '' : `${spread(runs.map(run => run.rss / 2 ** 20))} MiB`,
        ]);
        parts.push(
            '## Through the form that people send with',
            `${number(sizes.form)} messages of 20 mailboxes, 64 requests at a time: a program of its own takes each as a form (session, origin, quotas, a draft that is saved first, MIME, sealing), sends and records it.`,
            table(['who', 'a second', 'ratio', 'CPU ms a message', 'ratio', 'resident afterwards'], rows),
            command('form'),
        );
    }
    if (results.relay) {
        const rows = Object.entries(results.relay).map(([name, runs]) => [
            name,
            spread(runs.map(run => (sizes.relay * 1000) / run.accepted)),
            spread(runs.map(run => run.cpu / sizes.relay), 2),
            `${spread(runs.map(run => run.rest / 2 ** 20))} MiB`,
            `${spread(runs.map(run => run.held / 2 ** 20))} MiB`,
            `${spread(runs.map(run => (run.held - run.rest) / sizes.idle / 1024))} KiB`,
        ]);
        parts.push(
            '## Through the relay',
            `${number(sizes.relay)} messages of one device over ${sizes.relayConnections} connections with TLS, while they are sent: each is in the database before its 250. Then ${number(sizes.idle)} idle connections that are signed in.`,
            table(['database', 'accepted a second', 'CPU ms a message, until it is recorded as sent', 'memory', 'with idle connections', 'each'], rows),
            command('relay'),
        );
    }
    if (results.latency) {
        const rows = Object.entries(results.latency).map(([name, runs]) => [
            name === 'nodemailer' ? name : `Entrepost, ${name}`,
            ...['p50', 'p99'].map(part => spread(runs.map(run => run[part]), 1)),
        ]);
        parts.push('## From the enqueue to the acceptance', `One message at a time, sessions kept, ${sizes.latency} messages a round, in milliseconds.`, table(['who', 'p50', 'p99'], rows), command('latency'));
    }
    if (results.replicas) {
        const one = median(results.replicas[0].milliseconds);
        const rows = results.replicas.map(({ replicas, milliseconds }) => [replicas, spread(milliseconds), `${number(one / median(milliseconds), 2)}×`]);
        parts.push(
            '## Replicas',
            `${number(sizes.replicas)} messages of 20 mailboxes wait in one PostgreSQL; milliseconds from the first claim until all are recorded; the other programs learn of them within a second, by their own polls. Nothing arrived twice, and no mailbox had more than three connections.`,
            table(['replicas', 'milliseconds', 'ratio'], rows),
            command('replicas'),
        );
    }
    if (results.memory) {
        const rows = Object.entries(results.memory).map(([name, runs]) => {
            const columns = [run => run.rest, run => run.signed_in, run => run.after[0], run => run.after[1]];
            return [name, ...columns.map(of => `${spread(runs.map(run => of(run) / 2 ** 20))} MiB`)];
        });
        parts.push('## Resident memory of the program', 'The program sends what another process queues on the same database.', table(['database', 'at rest', 'after 60 sign-ins', `after ${number(sizes.memory)} messages`, `after ${number(sizes.memory)} more`], rows), command('memory'));
    }
    if (results.watch) {
        const of = field => results.watch.map(run => run[field] / 2 ** 20);
        const each = results.watch.map(run => (run.watched - run.rest) / sizes.watched / 1024);
        const ratio = median(of('watched')) / median(of('peer'));
        const rows = [
            ['Entrepost, SQLite', `${spread(of('rest'))} MiB`, `${spread(of('watched'))} MiB`, `${spread(each)} KiB`, `${number(ratio, 2)}×`],
            ['imapflow', '', `${spread(of('peer'))} MiB`, '', '1.00×'],
        ];
        parts.push(
            '## Mailboxes watched',
            `Resident memory with ${number(sizes.watched)} mailboxes of a Dovecot: IDLE over TLS for each, and for Entrepost an event stream each.`,
            table(['who', 'at rest', 'watching', 'each', 'ratio'], rows),
            command('watch'),
        );
    }
    if (results.scale) {
        const rows = results.scale.map(({ database, queued, runs }) => [database, number(queued), ...SCALED.map(field => spread(runs.map(run => run[field]), 2))]);
        parts.push(
            '## With a long queue',
            `Medians of ${sizes.scaled} rounds, each the median of 200, in milliseconds. An enqueue and a claim include their commit; the pages are the queries of 50 rows. A folder has as many headers as messages wait, 100,000 at most (the product itself keeps 300 a folder). The quota, checked with each message that a person queues, counts a thousand rows at most; that of the institution, 50,000 at most, is counted once in ten seconds.`,
            table(['database', 'waiting', 'enqueue', 'claim', "a person's quota", 'page of the outbox', 'page of the inbox'], rows),
            command('scale'),
        );
    }
    if (results.start !== undefined) {
        parts.push('## Size and start', table(['what', 'figure'], [['program', `${number(results.binary / 1e6, 1)} MB`], ['JavaScript and WebAssembly, brotli', results.page ? `${number(results.page / 1e3, 1)} kB` : 'not built'], ['start to first answer', `${number(results.start)} ms`]]), command('start'));
    }
    if (results.throughput && results.relay && results.latency && results.replicas && results.memory && results.watch && results.scale && results.start !== undefined) {
        parts.push(targets(results, median));
        parts.push(capacity(results, median));
    }
    parts.push('[What led to each change, and why some targets are not reached](PROFILES.md)');
    return `${parts.join('\n\n')}\n`;
}

/** What we aim at, and whether this run got there. */
function targets({ throughput, relay, latency, replicas, memory, watch, scale, start, binary, page, sizes }, median) {
    const databases = ['SQLite', 'PostgreSQL'];
    const rows = [];
    const row = (what, aim, got, reached) => rows.push([what, aim, got, reached ? 'yes' : '**no**']);
    for (const { mailboxes, messages, ...by } of throughput) {
        const ratio = (name, field) => median(by[name].map(run => run.queued[field])) / median(by.nodemailer.map(run => run[field]));
        for (const name of databases) {
            const [faster, cpu] = [1 / ratio(name, 'milliseconds'), ratio(name, 'cpu')];
            const aim = mailboxes === 1 ? 1 : 2;
            row(`messages a second, queue to record, ${mailboxes} mailbox${mailboxes > 1 ? 'es' : ''}, ${name}`, `${aim}×`, `${number(faster, 2)}×`, faster >= aim);
            row(`CPU a message, queue to record, ${mailboxes} mailbox${mailboxes > 1 ? 'es' : ''}, ${name}`, '0.33×', `${number(cpu, 2)}×`, cpu <= 1 / 3);
        }
    }
    const connections = Math.max(...databases.flatMap(name => throughput.at(-1)[name].map(run => run.queued.connections)));
    row(`connections for ${number(sizes.twenty)} messages of 20 mailboxes`, '60', number(connections), connections <= 60);
    for (const [part, aim] of [['p50', 5], ['p99', 25]]) {
        for (const name of databases) {
            const more = median(latency[name].map(run => run[part])) - median(latency.nodemailer.map(run => run[part]));
            row(`latency beyond nodemailer's at ${part}, ${name}`, `${aim} ms`, `${number(more, 1)} ms`, more <= aim);
        }
    }
    for (const name of databases) {
        const [first, second] = [0, 1].map(at => median(memory[name].map(run => run.after[at] / 2 ** 20)));
        row(`resident after ${number(sizes.memory)} messages, and again, ${name}`, '80 MiB, no growth (of 2 MiB or more)', `${number(first)}, ${number(second)} MiB`, second <= 80 && second - first < 2);
    }
    const watching = median(watch.map(run => run.watched)) / median(watch.map(run => run.peer));
    row(`resident with ${number(sizes.watched)} mailboxes watched`, '0.25×', `${number(watching, 2)}×`, watching <= 0.25);
    for (const name of databases) {
        const of = (field, queued) => median(scale.find(each => each.database === name && each.queued === queued).runs.map(run => run[field]));
        const most = number(sizes.scale.at(-1));
        const longer = ['enqueue', 'claim', 'quota'].flatMap(field => sizes.scale.filter(queued => queued >= 1e3).map(queued => of(field, queued) / of(field, Math.min(1e3, sizes.scale.at(-1)))));
        const worst = Math.max(1, ...longer);
        row(`an enqueue, a claim and a quota with up to ${most} queued, of those with 1,000, ${name}`, '1.2×', `${number(worst, 2)}×`, worst <= 1.2);
        const rows = Math.min(1e5, sizes.scale.at(-1));
        const page = Math.max(...['page', 'inbox'].map(field => of(field, rows) / of(field, sizes.scale[0])));
        row(`a page of ${number(rows)} rows, of that of ${number(sizes.scale[0])}, ${name}`, '1.2×', `${number(page, 2)}×`, page <= 1.2);
    }
    for (const name of databases) {
        const accepted = median(relay[name].map(run => (sizes.relay * 1000) / run.accepted));
        row(`accepted by the relay a second, ${name}`, '200', number(accepted), accepted >= 200);
        const idle = median(relay[name].map(run => run.held - run.rest)) / 2 ** 20;
        row(`${number(sizes.idle)} idle connections of devices, ${name}`, '20 MiB', `${number(idle, 1)} MiB`, idle < 20);
    }
    const worst = Math.max(...replicas.map(each => median(each.milliseconds) / median(replicas[0].milliseconds)));
    row('throughput of several replicas', '1×', `${number(1 / worst, 2)}×`, worst <= 1);
    row('program', '30 MB', `${number(binary / 1e6, 1)} MB`, binary <= 30e6);
    if (page) row('JavaScript and WebAssembly, brotli', '130 kB', `${number(page / 1e3, 1)} kB`, page <= 130e3);
    row('start to first answer', '150 ms', `${number(start)} ms`, start <= 150);
    const rounds = `The rows of a long queue are medians of ${sizes.scaled} rounds, the start is that of ${sizes.starts} starts.`;
    return ['## Where we want to be', table(['what', 'aim', 'this run', 'reached'], rows), rounds].join('\n\n');
}

/** What institutions of 300 mailboxes cost, from the figures of this run. */
function capacity({ throughput, watch, memory, sizes }, median) {
    const [mailboxesEach, messagesEach, pollsEach] = [300, 10, 288];
    const busy = throughput.at(-1);
    const rate = (busy.messages * 1000) / median(busy.PostgreSQL.map(run => run.queued.milliseconds));
    const cpu = median(busy.PostgreSQL.map(run => run.queued.cpu)) / busy.messages;
    const watched = median(watch.map(run => (run.watched - run.rest) / sizes.watched));
    const rows = [100, 1_000, 10_000].map(institutions => {
        const mailboxes = institutions * mailboxesEach;
        const peak = (mailboxes * messagesEach * 3) / (8 * 3600);
        const open = mailboxes / 10;
        const polls = (mailboxes - open) * pollsEach;
        const transactions = polls * 5 + mailboxes * messagesEach * 7;
        return [
            number(institutions),
            number(mailboxes),
            number(mailboxes * messagesEach),
            `${number(peak)} a second`,
            `${number((peak / rate) * 100)} %`,
            `${number((peak * cpu) / 10, 1)} %`,
            `${number((open * watched + median(memory.PostgreSQL.map(run => run.after[1]))) / 2 ** 30, 1)} GiB`,
            number(mailboxes * messagesEach),
            number(polls + open),
            number((polls / 86_400) * KEPT_SECONDS + open),
            `${number(polls / 86_400)} a second`,
            number(transactions),
        ];
    });
    return [
        '## On paper: 100, 1,000 and 10,000 institutions',
        `Institutions of ${mailboxesEach} mailboxes. Each mailbox sends ${messagesEach} messages a day, three times the average in the busiest of eight hours; one in ten is open in a browser and watched through one connection; the others are polled every five minutes. A poll takes five transactions on PostgreSQL (claim, lease, folders, headers, end of the lease), and its connection is kept for ${KEPT_SECONDS} seconds; a message takes seven at most (four of the form, and its parts in shared claims, marks and records), and a connection if nothing else was sent within ten seconds. With the figures above: ${number(rate)} messages a second and ${number(cpu, 2)} ms CPU a message (20 mailboxes, PostgreSQL), ${number(watched / 1024)} KiB a watched mailbox.`,
        table(
            ['institutions', 'mailboxes', 'messages a day', 'at the peak', 'of one replica', 'of one processor, for sending', 'memory for open pages', 'SMTP connections a day, at most', 'IMAP connections a day', 'of them open at a time', 'polls', 'transactions a day'],
            rows,
        ),
        'Polls come first, not messages: each is a connection with TLS and a sign-in, and a row that is claimed. At 100 institutions sending takes little of one replica; whether SQLite keeps up with the transactions of the polls was not measured here. At 1,000 the polls are about a thousand connections a second: several replicas on one PostgreSQL, each taking a part of the polls, and a longer `ENTREPOST_POLL_SECONDS`. At 10,000 one PostgreSQL would commit tens of thousands of transactions a second, more than it did here: PostgreSQL partitioned by institution. Pages, enqueues, marks and records stay within one institution; the searches for due queues and polls, for expired leases and for old rows go over all, and would run once in each partition. Senders are counted across institutions only where two share a tenant. The cost of a poll on the network was not measured here.',
    ].join('\n\n');
}
