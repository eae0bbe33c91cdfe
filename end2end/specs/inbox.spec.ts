// Inbox: new mail appears, is read, answered, moved; hostile content does no harm.
import { expect, isPlain, open, test } from "../fixtures/test";
import { configure, connect, outcome, signIn } from "../fixtures/steps";
import type { Demo } from "../fixtures/demo";
import type { Locator, Page } from "@playwright/test";
import { readFile } from "node:fs/promises";

const ME = "admin@demo.example";

async function ready(page: Page, demo: Demo, address = ME): Promise<void> {
  await configure(page, demo);
  await connect(page, demo, address);
  await outcome(page, "passed");
}

function row(page: Page, subject: string): Locator {
  return page.locator(".mail-row").filter({ hasText: subject });
}

/** Appears by itself; without JavaScript, once the page is loaded again. */
async function appears(page: Page, what: Locator): Promise<void> {
  if (!isPlain(page)) return expect(what).toBeVisible();
  await expect(async () => {
    await page.reload();
    await expect(what).toBeVisible({ timeout: 500 });
  }).toPass();
}

async function inbox(page: Page, demo: Demo): Promise<void> {
  await open(page, `${demo.url}/mail/inbox`);
  await appears(page, page.locator(".mail-row").first());
}

function mail(subject: string, body: string, more = "Content-Type: text/plain; charset=utf-8"): string {
  return `From: Ann Example <ann@far.example>\nTo: ${ME}\nSubject: ${subject}\nMessage-ID: <${crypto.randomUUID()}@far.example>\nMIME-Version: 1.0\n${more}\n\n${body}\n`;
}

async function received(demo: Demo, address: string, subject: string) {
  let found: Awaited<ReturnType<Demo["mails"]>>[number] | undefined;
  await expect
    .poll(async () => {
      const mails = await demo.mails();
      found = mails.find((one) => one.mailbox === address && one.folder === "INBOX" && one.raw.includes(`Subject: ${subject}`));
      return found !== undefined;
    })
    .toBe(true);
  return found!;
}

test("without a connected mailbox the inbox says what to do", async ({ page, demo }) => {
  await configure(page, demo);
  await page.goto(`${demo.url}/mail/inbox`);
  await expect(page.getByRole("link", { name: "Connect my mailbox" })).toBeVisible();
});

test("compose, an answer from there appears automatically, and is answered", async ({ page, demo, newcomer }) => {
  await ready(page, demo);
  await open(page, `${demo.url}/mail/compose`);
  await page.getByLabel("To", { exact: true }).fill("other@demo.example");
  await page.getByLabel("Subject").fill("Timetable");
  await page.getByLabel("Message").fill("Good morning.");
  await page.getByRole("button", { name: "Send" }).click();
  await expect(page).toHaveURL(/\/mail\/outbox/);
  const sent = await received(demo, "other@demo.example", "Timetable");

  await inbox(page, demo);
  // The recipient replies in the portal.
  const there = await newcomer();
  await there.goto(`${demo.portal}/portal/mail/${sent.id}`);
  await there.locator("textarea").fill("Thank you, Grüße!");
  const began = Date.now();
  // By keyboard: the frame above is still being laid out, so a click could miss.
  await Promise.all([
    there.waitForRequest((request) => request.method() === "POST" && request.url().endsWith("/reply")),
    there.getByRole("button", { name: "Send the answer" }).press("Enter"),
  ]);
  await appears(page, row(page, "Re: Timetable"));
  if (!isPlain(page)) expect(Date.now() - began, "within two seconds").toBeLessThan(2_000);
  await expect(row(page, "Re: Timetable")).toContainText("Unread");

  await row(page, "Re: Timetable").getByRole("link").click();
  await expect(page.getByRole("heading", { name: "Re: Timetable" })).toBeVisible();
  await expect(page.locator(".mail-text")).toContainText("Thank you, Grüße!");
  await page.getByRole("button", { name: "Reply", exact: true }).click();
  await expect(page.getByLabel("To", { exact: true })).toHaveValue("other@demo.example");
  await expect(page.getByLabel("Subject")).toHaveValue("Re: Timetable");
  await expect(page.getByLabel("Message")).toHaveValue(/> Thank you, Grüße!/);
  await page.getByLabel("Subject").fill("Re: Timetable, once more");
  await page.getByRole("button", { name: "Send" }).click();
  await expect(page).toHaveURL(/\/mail\/outbox/);
  const again = await received(demo, "other@demo.example", "Re: Timetable, once more");
  const first = /Message-ID: (<[^>]+>)/.exec(sent.raw)![1];
  expect(again.raw, "the whole chain").toContain(first);
  expect(again.raw).toMatch(/In-Reply-To: <[^>]+@sandbox\.example>/);
  await open(page, `${demo.url}/mail/inbox`);
  await appears(page, row(page, "Re: Timetable").getByText("Answered"));
  await expect(row(page, "Re: Timetable")).not.toContainText("Unread");
});

test("attachments both ways", async ({ page, demo }) => {
  await ready(page, demo);
  await open(page, `${demo.url}/mail/compose`);
  await page.getByLabel("To", { exact: true }).fill("other@demo.example");
  await page.getByLabel("Subject").fill("Plan");
  const file = Buffer.from(Array.from({ length: 70_000 }, (_, at) => at % 251));
  await page.getByLabel("Attachments").setInputFiles([
    { name: "plan ä.bin", mimeType: "application/octet-stream", buffer: file },
    { name: "note.txt", mimeType: "text/plain", buffer: Buffer.from("Hello") },
  ]);
  // Without JavaScript, files are uploaded with the form and listed once it is saved.
  if (isPlain(page)) await page.getByRole("button", { name: "Save draft" }).click();
  await expect(page.locator(".attachments li")).toHaveCount(2);
  await page.getByRole("button", { name: "Remove note.txt" }).click();
  await expect(page.getByText("Attachment removed.")).toBeVisible();
  await expect(page.locator(".attachments li")).toHaveCount(1);
  await expect(page.getByLabel("To", { exact: true })).toHaveValue("other@demo.example");
  await page.getByRole("button", { name: "Send" }).click();
  await expect(page).toHaveURL(/\/mail\/outbox/);
  const sent = await received(demo, "other@demo.example", "Plan");
  const encoded = sent.raw.slice(sent.raw.indexOf("Content-Transfer-Encoding: base64")).split("\r\n\r\n")[1].split("\r\n--")[0];
  expect(Buffer.from(encoded, "base64").equals(file), "the same octets").toBe(true);
  expect(sent.raw).not.toContain("note.txt");

  const body = `--b\nContent-Type: text/plain\n\nSee the file.\n--b\nContent-Type: application/pdf\nContent-Disposition: attachment; filename*=utf-8''Stundenpl%C3%A4ne.pdf\nContent-Transfer-Encoding: base64\n\n${file.toString("base64").replace(/(.{76})/g, "$1\n")}\n--b--`;
  await demo.deliver(ME, mail("With a file", body, "Content-Type: multipart/mixed; boundary=b"));
  await inbox(page, demo);
  await appears(page, row(page, "With a file").getByText("Has attachments"));
  await row(page, "With a file").getByRole("link").click();
  await expect(page.locator(".mail-text")).toContainText("See the file.");
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Stundenpläne.pdf" }).click()]);
  expect(download.suggestedFilename()).toBe("Stundenpläne.pdf");
  expect((await readFile(await download.path())).equals(file), "the same octets").toBe(true);

  // Forwarding includes the attachment.
  await page.getByRole("button", { name: "Forward" }).click();
  await expect(page.getByLabel("Subject")).toHaveValue("Fwd: With a file");
  await expect(page.locator(".attachments li")).toHaveCount(1);
  await page.getByLabel("To", { exact: true }).fill("other@demo.example");
  await page.getByRole("button", { name: "Send" }).click();
  const forwarded = await received(demo, "other@demo.example", "Fwd: With a file");
  expect(forwarded.raw).toContain("application/pdf");
});

test("too much is refused before it is lost", async ({ page, demo }) => {
  await ready(page, demo);
  await open(page, `${demo.url}/mail/compose`);
  await page.getByLabel("To", { exact: true }).fill("other@demo.example");
  await page.getByLabel("Attachments").setInputFiles({ name: "large.bin", mimeType: "application/octet-stream", buffer: Buffer.alloc(26_000_000) });
  if (isPlain(page)) await page.getByRole("button", { name: "Save draft" }).click();
  await expect(page.getByText(/25 MB in total/).last()).toBeVisible();
  await expect(page.locator(".attachments li")).toHaveCount(0);
});

test("what is typed is kept as a draft, goes on later, and is discarded @script", async ({ page, demo }) => {
  await ready(page, demo);
  await open(page, `${demo.url}/mail/compose`);
  await page.getByLabel("To", { exact: true }).fill("other@demo.example");
  await page.getByLabel("Subject").fill("Half a thought");
  await page.getByLabel("Message").fill("It begins like this");
  await expect(page.getByText(/Draft saved/)).toBeVisible();
  await page.goto(`${demo.url}/mail/drafts`);
  await expect(page.getByText("To other@demo.example")).toBeVisible();
  await page.getByRole("link", { name: "Half a thought" }).click();
  await expect(page.getByLabel("Message")).toHaveValue("It begins like this");
  await page.getByRole("button", { name: "Discard" }).click();
  await expect(page.getByText("Draft discarded.")).toBeVisible();
  await expect(page.getByText("No drafts")).toBeVisible();
});

test("a draft without JavaScript: kept by a button, complete after an error @plain", async ({ page, demo }) => {
  await ready(page, demo);
  await page.goto(`${demo.url}/mail/compose`);
  await page.getByLabel("Subject").fill("Half a thought");
  await page.getByLabel("Attachments").setInputFiles({ name: "note.txt", mimeType: "text/plain", buffer: Buffer.from("Hello") });
  await page.getByRole("button", { name: "Send" }).click();
  await expect(page.locator("#to-error")).toContainText("Enter at least one address.");
  await expect(page.getByLabel("Subject")).toHaveValue("Half a thought");
  await expect(page.locator(".attachments li")).toHaveCount(1);
  await page.getByLabel("To", { exact: true }).fill("other@demo.example");
  await page.getByRole("button", { name: "Send" }).click();
  await expect(page).toHaveURL(/\/mail\/outbox/);
  expect((await received(demo, "other@demo.example", "Half a thought")).raw).toContain("note.txt");
  await page.goto(`${demo.url}/mail/drafts`);
  await expect(page.getByText("No drafts")).toBeVisible();
});

test("flag, mark unread, delete, search, folders and pages", async ({ page, demo }) => {
  await ready(page, demo);
  for (let number = 1; number <= 55; number++) await demo.deliver(ME, mail(`Message ${number}.`, number === 7 ? "the word is Käsekuchen" : "text"));
  await inbox(page, demo);
  await appears(page, row(page, "Message 55."));
  await expect(page.locator(".mail-row")).toHaveCount(50);
  await page.getByRole("link", { name: "Older" }).click();
  await expect(row(page, "Message 1.")).toBeVisible();
  await page.getByRole("link", { name: "Newer" }).click();

  await row(page, "Message 55.").getByRole("checkbox").check();
  await row(page, "Message 54.").getByRole("checkbox").check();
  await page.getByRole("button", { name: "Flag", exact: true }).click();
  await expect(page.getByText("2 messages flagged.")).toBeVisible();
  await expect(row(page, "Message 54.")).toContainText("Flagged");
  await row(page, "Message 55.").getByRole("checkbox").check();
  await page.getByRole("button", { name: "Mark read" }).click();
  await expect(row(page, "Message 55.")).not.toContainText("Unread");
  // Without a selection the buttons are disabled.
  await expect(page.getByRole("button", { name: "Delete" })).toBeHidden();
  await row(page, "Message 53.").getByRole("checkbox").check();
  await page.getByRole("button", { name: "Delete" }).click();
  await expect(page.getByText("1 message moved to Deleted Items.")).toBeVisible();
  await expect(row(page, "Message 53.")).toHaveCount(0);
  await page.getByRole("navigation", { name: "Folders" }).getByRole("link", { name: "Deleted Items" }).click();
  await appears(page, row(page, "Message 53."));
  // Deleting for good asks for confirmation.
  await row(page, "Message 53.").getByRole("checkbox").check();
  await page.locator("summary", { hasText: "Delete permanently" }).click();
  await page.getByRole("button", { name: "Yes, delete permanently" }).click();
  await expect(page.getByText("1 message deleted permanently.")).toBeVisible();
  await expect(row(page, "Message 53.")).toHaveCount(0);

  await page.getByRole("navigation", { name: "Folders" }).getByRole("link", { name: "Inbox" }).click();
  await page.getByRole("searchbox").fill("käsekuchen");
  await page.getByRole("button", { name: "Search" }).click();
  await expect(page.getByText("1 message found")).toBeVisible();
  await row(page, "Message 7.").getByRole("link").click();
  await expect(page.locator(".mail-text")).toContainText("Käsekuchen");
  await page.getByRole("button", { name: "Mark unread" }).click();
  await expect(page.getByText("1 message marked as unread.")).toBeVisible();
  await page.getByRole("searchbox").fill("nothing like this");
  await page.getByRole("button", { name: "Search" }).click();
  await expect(page.getByText(/No messages in .* match/)).toBeVisible();
});

test("HTML of strangers: shown without its scripts, and pictures elsewhere only when asked for", async ({ page, demo }) => {
  await ready(page, demo);
  const asked: string[] = [];
  await page.context().route("https://track.example/**", (route) => {
    asked.push(route.request().url());
    return route.fulfill({ contentType: "image/gif", body: Buffer.from("R0lGODlhAQABAAAAACwAAAAAAQABAAA=", "base64") });
  });
  const html = `<h1>Big news</h1><script>top.hacked = 1; document.title = "hacked"</script><img src=x onerror="top.hacked = 1">
    <p onclick="top.hacked=1">Read <a href="javascript:top.hacked=1">this</a> and <a href="https://far.example/">that</a>.</p>
    <img src="https://track.example/pixel.gif" alt="tracker"><form action="https://track.example/"><button>Press</button></form>
    <iframe src="https://track.example/frame"></iframe><style>body{background:url(https://track.example/css)}</style>`;
  await demo.deliver(ME, mail("Newsletter", html, "Content-Type: text/html; charset=utf-8"));
  await inbox(page, demo);
  await appears(page, row(page, "Newsletter"));
  await row(page, "Newsletter").getByRole("link").click();
  const frame = page.frameLocator("iframe.mail-frame");
  await expect(frame.getByRole("heading", { name: "Big news" })).toBeVisible();
  await expect(frame.locator("script, form, button, iframe, style:not(head style)")).toHaveCount(0);
  // Scripts never run: neither in the sandboxed frame nor, by its own policy, in the document opened directly.
  const sandbox = await page.locator("iframe.mail-frame").getAttribute("sandbox");
  expect(sandbox).not.toContain("allow-scripts");
  expect(sandbox).not.toContain("allow-same-origin");
  const tab = await page.context().newPage();
  const alone = await tab.goto(demo.url + (await page.locator("iframe.mail-frame").getAttribute("src")));
  const policy = alone!.headers()["content-security-policy"];
  await tab.close();
  expect(policy).toContain("default-src 'none'");
  expect(policy).toMatch(/img-src data:;/);
  expect(policy).toMatch(/sandbox(?!.*allow-scripts)(?!.*allow-same-origin)/);
  await expect(frame.getByRole("link", { name: "that" })).toHaveAttribute("rel", /noreferrer/);
  expect(await page.evaluate(() => "hacked" in window)).toBe(false);
  expect(await page.title()).toContain("Newsletter");
  expect(asked, "nothing was loaded from elsewhere").toEqual([]);
  await page.getByRole("link", { name: "Load images" }).click();
  await expect.poll(() => asked).toEqual(["https://track.example/pixel.gif"]);
});

test("a picture that came with the message is shown in its place", async ({ page, demo }) => {
  await ready(page, demo);
  const dot = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
  const body = `--r\nContent-Type: text/html\n\n<p>Look:</p><img src="cid:dot%40far" style="width:40px">\n--r\nContent-Type: image/png\nContent-ID: <dot@far>\nContent-Disposition: inline; filename=dot.png\nContent-Transfer-Encoding: base64\n\n${dot}\n--r--`;
  await demo.deliver(ME, mail("Pictured", body, "Content-Type: multipart/related; boundary=r"));
  await inbox(page, demo);
  await appears(page, row(page, "Pictured"));
  await row(page, "Pictured").getByRole("link").click();
  const picture = page.frameLocator("iframe.mail-frame").locator("img");
  await expect(picture).toHaveAttribute("src", /^data:image\/png;base64,/);
  // A picture blocked by the policy would have no natural height.
  await expect.poll(async () => (await picture.boundingBox())?.height).toBe(40);
  await expect(page.getByText("dot.png"), "it is no attachment").toHaveCount(0);
});

test("hostile mail neither breaks the list nor the page", async ({ page, demo }) => {
  await ready(page, demo);
  await demo.deliver(ME, mail("Nested", Array.from({ length: 2_000 }, (_, n) => `--b${n}\nContent-Type: multipart/mixed; boundary=b${n + 1}\n`).join("\n"), "Content-Type: multipart/mixed; boundary=b0"));
  await demo.deliver(ME, mail("Headers", "text", "X-A: b\n".repeat(100_000) + "X-Z: z"));
  await demo.deliver(ME, mail("Broken =?utf-8?b?////?= =?x?y?z?=", "\u0000\u0001 =ZZ", "Content-Type: text/plain; charset=nothing\nContent-Transfer-Encoding: quoted-printable"));
  await demo.deliver(ME, mail("Deep", "<div>".repeat(50_000), "Content-Type: text/html"));
  await inbox(page, demo);
  for (const subject of ["Nested", "Headers", "Broken", "Deep"]) {
    await open(page, `${demo.url}/mail/inbox`);
    await appears(page, row(page, subject));
    await row(page, subject).getByRole("link").click();
    await expect(page.getByRole("heading", { name: subject })).toBeVisible();
    await expect(page.locator(".mail-text, .mail-frame, .opened .quiet").first()).toBeVisible();
  }
});

test("what comes back is matched to its message", async ({ page, demo }) => {
  await ready(page, demo);
  await demo.faults({ bounced: true });
  await open(page, `${demo.url}/mail/compose`);
  await page.getByLabel("To", { exact: true }).fill("somebody@elsewhere.example");
  await page.getByLabel("Subject").fill("Far away");
  await page.getByRole("button", { name: "Send" }).click();
  await expect(page).toHaveURL(/\/mail\/outbox/);
  // The connection may be back before the page is read.
  await expect(page.locator(".delivery").first()).toHaveAttribute("data-state", /^(sent|bounced)$/);
  await inbox(page, demo);
  await appears(page, row(page, "Undeliverable"));
  await open(page, `${demo.url}/mail/outbox`);
  await expect(page.locator(".delivery").first()).toHaveAttribute("data-state", "bounced");
  await expect(page.locator(".delivery").first()).toContainText("nobody has this address");
});

test("lost connections, ended sessions and renumbered folders are survived without a reload @script", async ({ page, demo }) => {
  await ready(page, demo);
  await demo.deliver(ME, mail("First", "text"));
  await inbox(page, demo);
  await appears(page, row(page, "First"));
  let reloads = 0;
  page.on("framenavigated", (frame) => (reloads += frame === page.mainFrame() ? 1 : 0));
  await demo.endImap();
  await demo.deliver(ME, mail("After the end", "text"));
  await expect(row(page, "After the end")).toBeVisible();
  await demo.faults({ imap_throttled: true });
  await demo.endImap();
  await demo.deliver(ME, mail("After the throttle", "text"));
  await demo.faults({ imap_throttled: false });
  await expect(row(page, "After the throttle")).toBeVisible();
  await demo.renumber(ME);
  await demo.endImap();
  await expect(row(page, "After the throttle")).toHaveAttribute("data-uid", /^10\d\d$/);
  await row(page, "First").getByRole("link").click();
  await expect(page.getByRole("heading", { name: "First" })).toBeVisible();
  expect(reloads, "only the message was opened").toBe(1);
  const [, most] = (await demo.registration()).imap_sessions[ME];
  expect(most, "one connection at most").toBe(1);
});

test("two people cannot see each other's mail", async ({ page, demo, newcomer }) => {
  await ready(page, demo);
  await demo.deliver(ME, mail("For the administrator", "secret"));
  await inbox(page, demo);
  await appears(page, row(page, "For the administrator"));
  const href = await row(page, "For the administrator").getByRole("link").getAttribute("href");
  const theirs = await newcomer();
  await signIn(theirs, demo.url, "user@demo.example");
  await connect(theirs, demo, "user@demo.example");
  await outcome(theirs, "passed");
  await theirs.goto(`${demo.url}/mail/inbox`);
  await appears(theirs, theirs.locator(".mail-row").first());
  await expect(theirs.locator(".mail-row").filter({ hasText: "For the administrator" })).toHaveCount(0);
  for (const path of [href!, href!.replace("/message?", "/message/document?"), href!.replace("/message?", "/message/raw?"), `/mail/inbox?${href!.split("?")[1]}`]) {
    const answer = await theirs.goto(demo.url + path);
    expect(answer!.status(), path).toBe(404);
    await expect(theirs.getByText("secret")).toHaveCount(0);
  }
});

test("a page that nobody sees follows nothing @script", async ({ page, demo }) => {
  await ready(page, demo);
  await inbox(page, demo);
  const look = (hidden: boolean) =>
    page.evaluate((hidden) => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
  const stream = (request: { url(): string }) => request.url().includes("/events/mail");
  const [ended] = await Promise.all([page.waitForEvent("requestfailed", stream), look(true)]);
  expect(ended.failure()?.errorText, "closed by the page").toContain("ABORTED");
  await demo.deliver(ME, mail("Meanwhile", "unseen"));
  const [again] = await Promise.all([page.waitForEvent("request", stream), look(false)]);
  expect(again.url()).toContain("/events/mail");
  await expect(row(page, "Meanwhile"), "what came meanwhile is there").toBeVisible();
});

test("signing out ends the stream of events @script", async ({ page, demo, newcomer }) => {
  await ready(page, demo);
  await inbox(page, demo);
  const other = await newcomer();
  await other.context().addCookies(await page.context().cookies());
  await other.goto(`${demo.url}/`);
  await other.locator(".user-button").click();
  await other.getByRole("button", { name: "Sign out" }).click();
  await expect(other.getByText("You are signed out.")).toBeVisible();
  // The open page notices and asks to sign in.
  await expect(page).toHaveURL(/\/login/);
});

test("after each action one is where one was, and it can be undone", async ({ page, demo }) => {
  await ready(page, demo);
  for (let number = 1; number <= 45; number++) await demo.deliver(ME, mail(`Number ${number}.`, "text"));
  await inbox(page, demo);
  await appears(page, row(page, "Number 45."));
  const focused = (subject: string) =>
    expect.poll(() => page.evaluate(() => document.activeElement?.closest(".mail-row")?.textContent ?? "")).toContain(subject);

  // Going back focuses the row and scrolls it into view.
  await row(page, "Number 10.").getByRole("link").click();
  await expect(page.getByRole("heading", { name: "Number 10." })).toBeVisible();
  await page.getByRole("link", { name: "Back to Inbox" }).click();
  await expect(row(page, "Number 10.")).toBeInViewport();
  await focused("Number 10.");

  // After marking, the first selected row has the focus.
  await row(page, "Number 12.").getByRole("checkbox").check();
  await row(page, "Number 11.").getByRole("checkbox").check();
  await page.getByRole("button", { name: "Flag", exact: true }).click();
  await expect(page).toHaveTitle(/^2 messages flagged · /);
  await expect(page.getByText("2 messages flagged.")).toBeInViewport();
  await focused("Number 12.");

  // After deleting, the next row has the focus; undo restores the message.
  await row(page, "Number 12.").getByRole("checkbox").check();
  await page.getByRole("button", { name: "Delete" }).click();
  await expect(page.getByText("1 message moved to Deleted Items.")).toBeInViewport();
  await expect(row(page, "Number 12.")).toHaveCount(0);
  await expect(row(page, "Number 11.")).toBeInViewport();
  await focused("Number 11.");
  await page.getByRole("button", { name: "Undo" }).click();
  await expect(page.getByText("1 message moved back.")).toBeInViewport();
  await appears(page, row(page, "Number 12."));
});

test("the focus goes to what a form answers, and the title says it", async ({ page, demo }) => {
  await page.goto(`${demo.url}/login`);
  await page.getByLabel("Email").fill(ME);
  await page.getByLabel("Password").fill("not the password");
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page).toHaveTitle(/^Wrong email or password · /);
  await expect(page.locator(":focus")).toContainText("Wrong email or password.");
  await ready(page, demo);
  await page.goto(`${demo.url}/mail/compose`);
  await page.getByLabel("To", { exact: true }).fill("nobody");
  await page.getByRole("button", { name: "Send" }).click();
  await expect(page).toHaveTitle(/^Error · /);
  await expect(page.locator(":focus")).toHaveAttribute("id", "errors");
});

test("what arrives takes the focus from nobody @script", async ({ page, demo }) => {
  await ready(page, demo);
  await demo.deliver(ME, mail("First.", "text"));
  await demo.deliver(ME, mail("Second.", "text"));
  await inbox(page, demo);
  await appears(page, row(page, "Second."));
  const focused = () => page.evaluate(() => document.activeElement?.textContent ?? "");
  await row(page, "First.").getByRole("link").focus();
  await demo.deliver(ME, mail("Third.", "text"));
  await appears(page, row(page, "Third."));
  expect(await focused()).toContain("First.");
  // The same for a selection button; ticked rows stay ticked.
  await row(page, "First.").getByRole("checkbox").check();
  await page.getByRole("button", { name: "Flag", exact: true }).focus();
  await demo.deliver(ME, mail("Fourth.", "text"));
  await appears(page, row(page, "Fourth."));
  expect(await focused()).toBe("Flag");
  await expect(row(page, "First.").getByRole("checkbox")).toBeChecked();
});

test("each check is said by its name @script", async ({ page, demo }) => {
  await configure(page, demo);
  await page.goto(`${demo.url}/account/email`);
  const said: string[] = [];
  await page.exposeFunction("heard", (text: string) => void said.push(text));
  await page.addInitScript(() => {
    new MutationObserver(() => {
      const text = document.querySelector(".attempt [role=status].visually-hidden")?.textContent;
      if (text) void (window as unknown as { heard: (text: string) => void }).heard(text);
    }).observe(document, { subtree: true, childList: true, characterData: true });
  });
  await page.getByRole("button", { name: "Configure & Test" }).click();
  await page.getByLabel("Email or sign-in name").fill(ME);
  await page.getByLabel("Password").fill("sandbox");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Accept" }).click();
  await outcome(page, "passed");
  expect(said.some((text) => /^[A-Z].*, [1-7] of 7$/.test(text)), said.join("; ")).toBe(true);
});
