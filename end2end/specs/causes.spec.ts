// Every cause of the diagnosis, produced at the sandbox, and what its sheet says: title, who can fix it, steps.
// fixtures/causes.json has the expected texts; what differs between runs stands there as {url}, {client}, {tenant}.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "@playwright/test";
import { Demo, type Faults } from "../fixtures/demo";
import { accept, ACCOUNT, allowOther, AT_MICROSOFT, atMicrosoft, comeBack, CONFIG, configure, connect, decline, edit, outcome, save, signIn, signInByForm, signOut, useCertificate } from "../fixtures/steps";
import { expect, open, test } from "../fixtures/test";

type Sheet = { title: string; who: string; steps: string[] };
/** `administrator`: what differs for one. */
type Sheets = Sheet & { administrator?: Partial<Sheet> };
const EXPECTED = JSON.parse(readFileSync(join(import.meta.dirname, "../fixtures/causes.json"), "utf8")) as Record<string, Sheets>;

const USER = "user@demo.example";
const ADMIN = "admin@demo.example";
const READERS = [USER, ADMIN];

/** AADSTS numbers that a sign-in of one person meets. */
const OF_SIGN_INS: Record<string, number> = {
  foreign_account: 50020,
  wrong_password: 50126,
  federated_sign_in: 50107,
  account_disabled: 50057,
  mfa: 50076,
  conditional_access: 53003,
  sign_in_frequency: 70043,
  device_policy: 53000,
  risk_policy: 53004,
  account_locked: 50053,
  password_expired: 50055,
  exchange_missing: 500011,
  not_assigned: 50105,
  start_over: 54005,
  consent_missing: 65001,
  permissions_missing: 650057,
  authority_throttled: 90055,
  exchange_refused: 50173,
  our_bug: 9002325,
};

/** AADSTS numbers that concern the app of the whole institution. */
const OF_REGISTRATIONS: Record<string, number> = {
  secret_wrong: 7000215,
  secret_expired: 7000222,
  client_unknown: 700016,
  tenant_unknown: 90002,
  other_cloud: 90038,
  single_tenant: 50194,
  redirect_uri: 50011,
  redirect_spa: 9002327,
  service_principal: 7000229,
  app_disabled: 7000112,
  public_client: 7000218,
  federated_credential: 70021,
  issuer_unreachable: 50166,
  client_assertion: 700027,
};

const AT_THE_AUTHORITY: Record<string, Faults> = {
  credential_forbidden: { secrets_forbidden: true },
  authority_unreachable: { token_dropped: true },
  authority_protocol: { token_page: true },
  authority_refused: { token_error: 999999, token_error_kind: "invalid_request" },
  interaction_required: { token_error: 999999, token_error_kind: "interaction_required" },
  no_refresh_token: { no_refresh_token: true },
  id_token_invalid: { id_token_foreign: true },
};

/** Met when a connected mailbox is tested again. */
const OF_SENDING: Record<string, Faults> = {
  smtp_auth_mailbox: { smtp_auth: "mailbox" },
  smtp_auth_tenant: { smtp_auth: "tenant" },
  smtp_auth_security_defaults: { smtp_auth: "security_defaults" },
  smtp_auth_policy: { smtp_reply: "535 5.7.139 Authentication unsuccessful, the request did not meet the criteria to be authenticated successfully." },
  smtp_token_refused: { smtp_reply: "535 5.7.3 Authentication unsuccessful" },
  send_as_itself: { send_as_denied: true },
  smtp_throttled: { throttled: true },
  smtp_later: { smtp_reply: "451 4.3.0 Temporary server error. Please try again later" },
  smtp_daily_limit: { smtp_reply: "550 5.1.90 Your message can't be sent because you've reached your daily limit for message recipients" },
  smtp_tenant_limit: { smtp_reply: "550 5.7.233 Your message can't be sent because your tenant exceeded its daily limit" },
  smtp_onmicrosoft: { smtp_reply: "550 5.7.236 Tenant has exceeded the threshold of its onmicrosoft.com domain" },
  smtp_sender_blocked: { smtp_reply: "550 5.1.8 Access denied, bad outbound sender" },
  smtp_tenant_blocked: { smtp_reply: "550 5.7.705 Service unavailable. Access denied, tenant has exceeded threshold" },
  recipient_unknown: { smtp_reply: "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found" },
  mailbox_full: { smtp_reply: "554 5.2.2 mailbox full" },
  message_too_large: { smtp_reply: "552 5.3.4 Message size exceeds fixed limit" },
  direct_send: { smtp_reply: "550 5.7.68 TenantInboundAttribution; Direct Send not allowed for this organization" },
  bounce_domain_records: { smtp_reply: "550 5.7.515 Access denied, sending domain does not meet the required authentication level" },
  smtp_refused: { smtp_reply: "550 5.7.1 rejected by a rule" },
  smtp_cut: { cut_at_data: true },
  smtp_cut_unknown: { cut_after_data: true },
  smtp_silent: { cut_before_data: true },
  smtp_tls: { tls_broken: "smtp" },
  smtp_unreachable: { unplugged: "smtp" },
};

const OF_RECEIVING: Record<string, Faults> = {
  imap_disabled: { imap_disabled: true },
  imap_token_refused: { imap_auth_refused: true },
  imap_throttled: { imap_throttled: true },
  imap_refused: { imap_refused: "SELECT" },
  imap_silent: { imap_dropped: "SELECT" },
  imap_tls: { tls_broken: "imap" },
  imap_unreachable: { unplugged: "imap" },
};

/** Met where the institution sends through Microsoft Graph. */
const OF_GRAPH: Record<string, Faults> = {
  graph_denied: { graph_reply: "403 ErrorAccessDenied" },
  graph_no_mailbox: { graph_reply: "404 MailboxNotEnabledForRESTAPI" },
  graph_throttled: { graph_reply: "429 ApplicationThrottled 7" },
  graph_refused: { graph_reply: "400 ErrorMimeContentInvalidBase64String" },
  graph_unreachable: { unplugged: "graph" },
};

const OF_BOUNCES: Record<string, string> = {
  bounced: "550 5.7.999 we do not want this",
  bounce_domain_unknown: "550 5.1.2 no such host",
  bounce_full: "554 5.2.2 mailbox full",
  bounce_too_large: "552 5.3.4 message too large",
  bounce_late: "550 4.4.7 queue expired",
  bounce_spam: "550 5.7.350 Remote server returned message detected as spam",
  bounce_not_accepted: "550 5.7.1 only members may write to this list",
};

/** Each has a test of its own below. */
const BY_OTHER_WAYS = [
  "declined", "authority_unavailable", "issuer_mismatch", "grant_revoked", "account_gone", "address_taken", "address_unproven", "send_as_denied",
  "registration_changed", "provider_changed", "imap_folder", "imap_command", "ids_swapped", "tenant_unfit",
  "interrupted", "no_room", "certificate_expired", "graph_consent", "graph_large",
];

const produced = [OF_SIGN_INS, OF_REGISTRATIONS, AT_THE_AUTHORITY, OF_SENDING, OF_RECEIVING, OF_GRAPH, OF_BOUNCES].flatMap((group) => Object.keys(group)).concat(BY_OTHER_WAYS);

test.setTimeout(300_000);

test("no cause is left out @script", () => {
  const directory = join(import.meta.dirname, "../../server/src/diagnosis/causes");
  const source = readdirSync(directory).map((file) => readFileSync(join(directory, file), "utf8")).join("\n");
  const named = [...source.matchAll(/\bcause\(\s*"([a-z_]+)"/g)].map(([, name]) => name!);
  // The answer to a fault that a newer version stored.
  expect(new Set(produced.concat("unknown"))).toEqual(new Set(named));
  expect(new Set(produced).size, "each once").toBe(produced.length);
  console.log(`      ${produced.length} causes are produced`);
});

/** Mail health has one row for the cause, with the same steps. */
async function showsToAll(page: Page, demo: Demo, cause: string): Promise<void> {
  await page.goto(`${demo.url}/institution/mail-health`);
  const row = page.locator(`.cause-row[data-cause="${cause}"]`);
  await expect(row.locator("> details > summary")).toContainText("1 mailbox");
  const steps = EXPECTED[cause]!.administrator?.steps ?? EXPECTED[cause]!.steps;
  await expect(row.locator("ol.steps > li"), cause).toHaveCount(steps.length);
}

/** Compares the sheet of a cause on a page. Only a reader who isn't an administrator gets a message for one. */
async function shows(page: Page, demo: Demo, cause: string): Promise<void> {
  const isAdministrator = (await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "Mail health" }).count()) > 0;
  const sheet = page.locator(`.diagnosis[data-cause="${cause}"]`).first();
  await expect(sheet, cause).toBeAttached();
  const read = await sheet.evaluate((sheet) => {
    const words = (element: Element | null) => element?.textContent?.trim() ?? "";
    const steps = [...sheet.querySelectorAll("ol.steps > li")];
    return { who: words(sheet.querySelector("h2") ?? sheet.querySelector("summary")), steps: steps.map((step) => [step.querySelector("p"), step.querySelector("code, a")].map(words).filter(Boolean).join(" ")) };
  });
  const { client_id, tenant_id } = await demo.registration();
  const names: [string, string][] = [[demo.url, "{url}"], [encodeURIComponent(demo.url), "{url}"], [demo.portal, "{portal}"], [client_id, "{client}"], [tenant_id, "{tenant}"], [isAdministrator ? ADMIN : USER, "{reader}"]];
  const plain = (text: string) => names.reduce((text, [value, name]) => text.replaceAll(value, name), text).replaceAll(/\+http%3A%2F%2Flocalhost%3A\d+%2FMail/g, "+{graph}Mail");
  const expected = { ...EXPECTED[cause]!, ...(isAdministrator ? EXPECTED[cause]!.administrator : {}) };
  const message = sheet.getByRole("button", { name: "Copy message for the administrator" });
  const isWhole = await sheet.evaluate((sheet) => sheet.localName === "section");
  await expect(message, cause).toHaveCount(isWhole && !isAdministrator ? 1 : 0);
  expect({ cause, who: read.who, steps: read.steps.map(plain) }).toEqual({ cause, who: expected.who, steps: expected.steps });
  const title = expected.title.replace("{reader}", isAdministrator ? ADMIN : USER);
  const isSaid = (title: string) => [...document.querySelectorAll("p, h1, h2, h3, strong, span, a, li")].some((element) => {
    const text = element.textContent?.replace(/^(Problem|Note): /, "").trim() ?? "";
    // A field's error goes on with its summary.
    return text === title || (element.matches(".error") && text.startsWith(`${title} `));
  });
  expect(await page.evaluate(isSaid, title), `${cause}: ${title}`).toBe(true);
}

/** Nothing is wrong at Microsoft any longer. */
async function repair(demo: Demo, faults: Faults): Promise<void> {
  const whole = { boolean: false, number: 0, string: "" } as const;
  const off = Object.entries(faults).map(([name, value]) => [name, name === "smtp_auth" ? "on" : whole[typeof value as keyof typeof whole]]);
  await demo.faults(Object.fromEntries(off) as Faults);
}

/** The reader is signed in at Entrepost; the institution is set up. */
async function readBy(reader: string, page: Page, demo: Demo): Promise<void> {
  await configure(page, demo);
  if (reader === ADMIN) return;
  await signOut(page);
  await signIn(page, demo.url, reader);
}

const asUser = (page: Page, demo: Demo) => readBy(USER, page, demo);

/** Configure & Test as somebody whom Microsoft has not seen in this browser. */
async function newSignIn(page: Page, demo: Demo, consent: boolean, reader = USER): Promise<void> {
  await page.context().clearCookies({ domain: "localhost" });
  await connect(page, demo, reader, consent);
}

async function testAgain(page: Page, demo: Demo): Promise<void> {
  await page.goto(demo.url + ACCOUNT);
  await page.getByRole("button", { name: "Test again" }).first().click();
  await page.waitForURL(/\/attempts\//);
}

const numbered = (numbers: Record<string, number>): [string, Faults][] => Object.entries(numbers).map(([cause, token_error]) => [cause, { token_error }]);

for (const [name, cases] of [
  ["a person's sign-in", numbered(OF_SIGN_INS)],
  ["the app at Microsoft", numbered(OF_REGISTRATIONS)],
  ["the authority", Object.entries(AT_THE_AUTHORITY)],
] as const) {
  for (const reader of READERS) {
    test(`${name}: ${cases.length} causes, read by ${reader} @script`, async ({ page, demo }) => {
      await readBy(reader, page, demo);
      let first = true;
      for (const [cause, faults] of cases) {
        await test.step(cause, async () => {
          await demo.faults(faults);
          await newSignIn(page, demo, first, reader);
          first = false;
          await outcome(page, "failed");
          await shows(page, demo, cause);
          await repair(demo, faults);
        });
      }
    });
  }
}

for (const [name, group] of [["sending", OF_SENDING], ["receiving", OF_RECEIVING]] as const) {
  const cases = Object.entries(group);
  for (const reader of READERS) {
    test(`${name}: ${cases.length} causes, read by ${reader} @script`, async ({ page, demo }) => {
      await readBy(reader, page, demo);
      await connect(page, demo, reader);
      await outcome(page, "passed");
      for (const [cause, faults] of cases) {
        await test.step(cause, async () => {
          await demo.faults(faults);
          await testAgain(page, demo);
          await outcome(page, "failed");
          await shows(page, demo, cause);
          if (reader === ADMIN) await showsToAll(page, demo, cause);
          await repair(demo, faults);
        });
      }
    });
  }
}

for (const reader of READERS) {
  test(`Microsoft Graph: ${Object.keys(OF_GRAPH).length + 2} causes, read by ${reader} @script`, async ({ page, demo, newcomer }) => {
    await configure(page, demo);
    await page.goto(demo.url + CONFIG);
    await page.getByLabel("Use it for every mailbox").check();
    await page.getByRole("button", { name: "Use this way" }).click();
    await expect(page.getByText("Saved.")).toBeVisible();
    const administrator = page;
    const person = reader === ADMIN ? page : await newcomer();
    if (person !== page) await signIn(person, demo.url, reader);
    await connect(person, demo, reader);
    await outcome(person, "failed");
    await shows(person, demo, "graph_consent");
    await administrator.goto(demo.url + CONFIG);
    if (await administrator.locator(".edit-setup > summary").count()) await edit(administrator);
    await administrator.getByRole("button", { name: "Grant admin consent" }).click();
    await administrator.getByLabel("Email or sign-in name").fill(ADMIN);
    await administrator.getByLabel("Password").fill(AT_MICROSOFT);
    await accept(administrator);
    await expect(administrator.getByText("Admin consent granted.").first()).toBeVisible();
    await testAgain(person, demo);
    await outcome(person, "passed");
    for (const [cause, faults] of Object.entries(OF_GRAPH)) {
      await test.step(cause, async () => {
        await demo.faults(faults);
        await testAgain(person, demo);
        await outcome(person, "failed");
        await shows(person, demo, cause);
        await repair(demo, faults);
      });
    }
    await demo.faults({ graph_send_only: true });
    await testAgain(person, demo);
    await outcome(person, "passed");
    await open(person, `${demo.url}/mail/compose`);
    await person.getByLabel("To", { exact: true }).fill("somebody@elsewhere.example");
    await person.getByLabel("Subject").fill("Large");
    await person.locator("input[type=file]").setInputFiles({ name: "large.bin", mimeType: "application/x-large", buffer: Buffer.alloc(4_000_000, 7) });
    await person.getByRole("button", { name: "Send" }).click();
    await expect(person).toHaveURL(/\/mail\/outbox/);
    await expect(async () => {
      await person.goto(`${demo.url}/mail/outbox`);
      await expect(person.locator(".delivery").first()).toHaveAttribute("data-state", "failed", { timeout: 1_000 });
    }).toPass();
    await person.getByRole("link", { name: "Large", exact: true }).click();
    await shows(person, demo, "graph_large");
  });
}

test(`what comes back: ${Object.keys(OF_BOUNCES).length} causes @script`, async ({ page, demo }) => {
  await configure(page, demo);
  await connect(page, demo, ADMIN);
  await outcome(page, "passed");
  let count = 0;
  for (const [cause, bounce_reply] of Object.entries(OF_BOUNCES)) {
    await demo.faults({ bounced: true, bounce_reply });
    await open(page, `${demo.url}/mail/compose`);
    await page.getByLabel("To", { exact: true }).fill("somebody@elsewhere.example");
    await page.getByLabel("Subject").fill(cause);
    await page.getByRole("button", { name: "Send" }).click();
    await expect(page).toHaveURL(/\/mail\/outbox/);
    count += 1;
    await expect.poll(async () => (await demo.mails()).filter((mail) => mail.raw.includes("Subject: Undeliverable")).length).toBe(count);
  }
  await page.goto(`${demo.url}/mail/inbox`);
  for (const cause of Object.keys(OF_BOUNCES)) {
    await test.step(cause, async () => {
      await expect(async () => {
        await page.goto(`${demo.url}/mail/outbox`);
        const message = page.locator(".delivery").filter({ has: page.getByRole("link", { name: cause, exact: true }) });
        await expect(message).toHaveAttribute("data-state", "bounced", { timeout: 1_000 });
      }).toPass();
      await page.getByRole("link", { name: cause, exact: true }).click();
      await shows(page, demo, cause);
    });
  }
});

test("declined, another issuer, revoked, gone @script", async ({ page, demo }) => {
  await asUser(page, demo);
  await page.goto(demo.url + ACCOUNT);
  await page.getByRole("button", { name: "Configure & Test" }).click();
  await atMicrosoft(page, USER);
  await decline(page);
  await outcome(page, "failed");
  await shows(page, demo, "declined");

  await page.context().clearCookies({ domain: "localhost" });
  await page.goto(demo.url + ACCOUNT);
  await page.getByRole("button", { name: "Configure & Test" }).click();
  await atMicrosoft(page, USER);
  await demo.faults({ unavailable: true });
  await accept(page);
  await outcome(page, "failed");
  await shows(page, demo, "authority_unavailable");
  await demo.faults({ unavailable: false });

  await page.context().clearCookies({ domain: "localhost" });
  await page.goto(demo.url + ACCOUNT);
  await page.getByRole("button", { name: "Configure & Test" }).click();
  const form = page.locator("form").first();
  const fields = await form.evaluate((form: HTMLFormElement) => Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, String(value)])));
  const action = new URL((await form.getAttribute("action"))!, page.url());
  const answer = await page.request.post(action.href, { form: { ...fields, username: USER, password: AT_MICROSOFT }, maxRedirects: 0 });
  const back = new URL(answer.headers()["location"]!, page.url());
  back.searchParams.set("iss", "https://login.evil.example/v2.0");
  await page.goto(back.href);
  await comeBack(page);
  await outcome(page, "failed");
  await shows(page, demo, "issuer_mismatch");

  await newSignIn(page, demo, false);
  await outcome(page, "passed");
  await demo.faults({ grants_revoked: true });
  await testAgain(page, demo);
  await outcome(page, "failed");
  await shows(page, demo, "grant_revoked");

  await demo.faults({ grants_revoked: false });
  await newSignIn(page, demo, false);
  await outcome(page, "passed");
  await demo.faults({ token_error: 50034 });
  await testAgain(page, demo);
  await outcome(page, "failed");
  await shows(page, demo, "account_gone");
});

test("addresses: taken, not proven, not allowed as sender @script", async ({ page, demo, newcomer }) => {
  await configure(page, demo);
  await allowOther(page, demo.url);
  const choose = async (page: Page, address: string, name: string) => {
    await page.context().clearCookies({ domain: "localhost" });
    await page.goto(demo.url + ACCOUNT);
    await page.getByLabel("Email address").fill(address);
    await page.getByRole("button", { name: "Configure & Test" }).click();
    await atMicrosoft(page, name);
    const consent = page.getByRole("button", { name: "Accept" });
    await expect(consent.or(page.locator(".attempt"))).toBeVisible();
    if (await consent.isVisible()) await accept(page);
    await page.waitForURL(/\/attempts\//);
  };
  await choose(page, "teacher@demo.example", "t.teacher@demo-school.example");
  await outcome(page, "passed");
  await demo.faults({ send_as_denied: true });
  await testAgain(page, demo);
  await outcome(page, "failed");
  await shows(page, demo, "send_as_denied");
  await demo.faults({ send_as_denied: false, delivery: "junk" });
  await choose(page, "secretary@demo.example", "office.manager@demo.example");
  await page.getByRole("button", { name: "Continue with secretary@demo.example" }).click();
  await outcome(page, "failed");
  await shows(page, demo, "address_unproven");
  await demo.faults({ delivery: "inbox" });

  await choose(page, "other@demo.example", "other@demo.example");
  await outcome(page, "passed");
  const second = await newcomer();
  await signIn(second, demo.url, USER);
  await choose(second, USER, "other@demo.example");
  await second.getByRole("button", { name: "Use this address instead" }).click();
  await outcome(second, "failed");
  await shows(second, demo, "address_taken");
});

test("folders and commands of IMAP @script", async ({ page, demo }) => {
  await configure(page, demo);
  await connect(page, demo, ADMIN);
  await outcome(page, "passed");
  await demo.faults({ imap_folder_refused: "Projects" });
  await page.goto(`${demo.url}/mail/inbox?folder=Projects`);
  await shows(page, demo, "imap_folder");
  await demo.faults({ imap_folder_refused: "", imap_refused: "FETCH" });
  await demo.deliver(ADMIN, "From: a@far.example\nTo: admin@demo.example\nSubject: New\n\ntext\n");
  await page.goto(`${demo.url}/mail/inbox`);
  await shows(page, demo, "imap_command");
});

test("the institution's own settings @script", async ({ page, demo, newcomer }) => {
  await configure(page, demo);
  const app = await demo.registration();
  await page.goto(demo.url + CONFIG);
  await edit(page);
  await page.getByLabel("Client ID", { exact: true }).fill(app.tenant_id);
  await page.getByLabel("Tenant ID", { exact: true }).fill(app.client_id);
  await page.getByLabel("Client Secret", { exact: true }).fill(app.secret_value);
  await save(page);
  await shows(page, demo, "ids_swapped");
  await demo.faults({ app_error: 50020 });
  await page.goto(demo.url + CONFIG);
  await edit(page);
  await page.getByLabel("Client Secret", { exact: true }).fill(app.secret_value);
  await save(page);
  await shows(page, demo, "tenant_unfit");
  await demo.faults({ app_error: 0 });

  const user = await newcomer();
  await signIn(user, demo.url, USER);
  await connect(user, demo, USER);
  await outcome(user, "passed");
  await demo.newClientId();
  const { client_id } = await demo.registration();
  await page.goto(demo.url + CONFIG);
  await edit(page);
  await page.getByLabel("Client ID", { exact: true }).fill(client_id);
  await page.getByLabel("Client Secret", { exact: true }).fill(app.secret_value);
  await save(page);
  await page.getByRole("button", { name: "Use the new values" }).click();
  await expect(page.getByText("New values not in use yet")).toHaveCount(0);
  await user.goto(demo.url + ACCOUNT);
  await shows(user, demo, "registration_changed");
  await newSignIn(user, demo, false);
  await outcome(user, "passed");
  await page.goto(demo.url + CONFIG);
  await edit(page);
  await page.getByLabel("Email Provider").selectOption({ label: "System default" });
  await save(page);
  await page.locator(".confirm-check input").check();
  await save(page);
  await user.goto(demo.url + ACCOUNT);
  await shows(user, demo, "provider_changed");
});

/** The same data, served again. */
async function again(page: Page, demo: Demo, environment: Record<string, string>, more: string[], look: (next: Demo) => Promise<void>): Promise<void> {
  await page.goto("about:blank");
  await demo.interrupt();
  const next = await Demo.start(environment, demo.directory, more);
  await look(next);
  await page.goto("about:blank");
  await next.interrupt();
}

test("an interrupted test, and a full disk @script", async ({ page, demo }) => {
  await configure(page, demo);
  await connect(page, demo, ADMIN);
  await outcome(page, "passed");
  await demo.faults({ slow_ms: 2_000 });
  await testAgain(page, demo);
  const attempt = new URL(page.url()).pathname;
  await page.goto("about:blank");
  await demo.interrupt("SIGKILL");
  await again(page, demo, {}, [], async (next) => {
    await next.faults({ slow_ms: 0 });
    await page.goto(next.url + attempt);
    await outcome(page, "abandoned");
    await shows(page, next, "interrupted");
  });
  await again(page, demo, { ENTREPOST_DISK_RESERVE_BYTES: String(10 ** 15) }, [], async (next) => {
    await next.deliver(ADMIN, "From: a@far.example\nTo: admin@demo.example\nSubject: No room\n\ntext\n");
    await expect(async () => {
      await page.goto(`${next.url}/mail/inbox`);
      await expect(page.locator('.diagnosis[data-cause="no_room"]')).toBeAttached({ timeout: 1_000 });
    }).toPass({ timeout: 60_000 });
    await shows(page, next, "no_room");
  });
});

test("an expired certificate @script", async ({ page, demo }) => {
  await configure(page, demo);
  await connect(page, demo, ADMIN);
  await outcome(page, "passed");
  await useCertificate(page, demo);
  // The secret is kept until the certificate has renewed mail.
  await testAgain(page, demo);
  await outcome(page, "passed");
  await demo.faults({ certificate_expired: true });
  await testAgain(page, demo);
  await outcome(page, "failed");
  await shows(page, demo, "certificate_expired");
  // Years later.
  await again(page, demo, {}, ["--days-ahead", "4000"], async (next) => {
    await signInByForm(page, next.url, ADMIN);
    await page.goto(next.url + CONFIG);
    await shows(page, next, "certificate_expired");
  });
});
