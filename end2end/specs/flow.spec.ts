// The whole flow: an administrator configures, a user connects, the test message arrives.
import { expect, isPlain, open, test } from "../fixtures/test";
import { ACCOUNT, accept, atMicrosoft, CONFIG, configureByHand, connectByHand, edit, fillRegistration, outcome, save, signInByForm, signOut, stop } from "../fixtures/steps";

const CHECKS = ["sign_in", "identity", "token", "smtp", "test_message", "imap", "arrival"];

test("configureByHand, connectByHand, watch every check pass up to the test message", async ({ page, demo }) => {
  await open(page, demo.url);
  await expect(page).toHaveURL(/\/login/);
  await signInByForm(page, demo.url, "admin@demo.example");
  await page.locator(".user-button").click();
  await page.locator("#user-menu").getByRole("link", { name: "Institution Config › General › Email" }).click();
  await fillRegistration(page, demo);
  await save(page);
  await expect(page.getByText("Microsoft accepted the credentials.").first()).toBeVisible();
  await expect(page.getByText("Next: connect your own mailbox.").first()).toBeVisible();
  await expect(page.getByText("/web/home/emails/msexchangeonlineoauth").first()).toBeVisible();
  await signOut(page);

  await signInByForm(page, demo.url, "user@demo.example");
  await page.locator(".user-button").click();
  await page.locator("#user-menu").getByRole("link", { name: "User Account › Email" }).click();
  await expect(page.getByLabel("Email address")).toHaveValue("user@demo.example");
  await page.getByRole("button", { name: "Configure & Test" }).click();
  await expect(page.getByLabel("Email or sign-in name")).toHaveValue("user@demo.example");
  const asked = new URL(page.url()).searchParams;
  expect(asked.get("prompt")).toBe("select_account");
  expect(asked.get("code_challenge_method")).toBe("S256");
  await atMicrosoft(page, "user@demo.example");
  await accept(page);
  await page.waitForURL(/\/account\/email\/attempts\//);
  await outcome(page, "passed");
  for (const check of CHECKS) await expect(stop(page, check)).toHaveAttribute("data-status", "passed");
  await expect(page.getByText("Your mailbox is connected.").first()).toBeVisible();
  await expect(page).toHaveTitle(/^Connected · /);
  await expect(page.locator(":focus")).toContainText("Your mailbox is connected.");
  await expect(page.getByRole("img", { name: /Postmark/ })).toBeVisible();

  const mails = await demo.mails();
  const inbox = mails.filter((mail) => mail.mailbox === "user@demo.example" && mail.folder === "INBOX");
  expect(inbox).toHaveLength(1);
  for (const part of ["Demo College", "text/plain", "text/html", "user@demo.example"]) expect(inbox[0].raw).toContain(part);
  expect(inbox[0].raw).toMatch(/X-Entrepost-Attempt: /);

  await page.reload();
  await outcome(page, "passed");
  await page.goto(demo.url + ACCOUNT);
  await expect(page.getByText("Your mailbox is connected.")).toBeVisible();
  await expect(page.locator('[data-mailbox="connected"]')).toBeVisible();
  await expect(page.getByText("all checks passed")).toBeVisible();

  await page.locator(".confirm > summary").click();
  await page.getByRole("button", { name: "Yes, disconnect" }).click();
  await expect(page.getByText("user@demo.example is disconnected.")).toBeVisible();
  await expect(page.locator("[data-mailbox]")).toHaveCount(0);
});

test("code and state leave the address bar", async ({ page, demo }) => {
  await configureByHand(page, demo);
  await page.goto(demo.url + ACCOUNT);
  await page.getByRole("button", { name: "Configure & Test" }).click();
  await atMicrosoft(page, "admin@demo.example");
  const addresses: string[] = [];
  page.on("framenavigated", (frame) => addresses.push(frame.url()));
  await accept(page);
  await page.waitForURL(/\/attempts\//);
  await outcome(page, "passed");
  expect(addresses.some((address) => /code=.*state=/.test(address)), "Microsoft sent them in the address").toBe(true);
  // The parameters are removed at once, before any request; without JavaScript they stay until the button is pressed.
  if (!isPlain(page)) expect(addresses).toContain(`${demo.url}/web/home/emails/msexchangeonlineoauth`);
  expect(addresses.at(-1)).not.toMatch(/code=|state=/);
  expect(await page.evaluate(() => document.referrer)).not.toMatch(/code=/);
});

test("the guide ticks itself where Microsoft proved a step, and remembers a tick", { tag: "@script" }, async ({ page, demo }) => {
  await configureByHand(page, demo);
  for (const step of ["register", "ids", "secret"]) await expect(page.locator(`[data-step="${step}"] input`)).toBeChecked();
  await expect(page.locator('[data-step="redirect_uri"] input')).not.toBeChecked();
  await open(page, demo.url + CONFIG);
  const kept = page.waitForResponse(/set_guide_step/);
  await page.locator('[data-step="protocols"] input').check();
  expect((await kept).status()).toBe(200);
  await page.reload();
  await expect(page.locator('[data-step="protocols"] input')).toBeChecked();

  await page.goto(demo.url + ACCOUNT);
  await page.getByRole("button", { name: "Configure & Test" }).click();
  await atMicrosoft(page, "admin@demo.example");
  await accept(page);
  await outcome(page, "passed");
  await page.goto(demo.url + CONFIG);
  for (const step of ["redirect_uri", "permissions", "consent", "protocols"]) await expect(page.locator(`[data-step="${step}"] input`)).toBeChecked();
});

test("without JavaScript the page of an attempt reloads itself, and the guide has a button", { tag: "@plain" }, async ({ page, demo }) => {
  await configureByHand(page, demo);
  // Slow enough to see the page before the checks finish.
  await demo.faults({ slow_ms: 400 });
  await connectByHand(page, demo, "admin@demo.example");
  await expect(page.locator(".attempt")).toHaveAttribute("data-stage", "running");
  await demo.faults({ slow_ms: 0 });
  await outcome(page, "passed");
  await page.goto(demo.url + CONFIG);
  await edit(page);
  await page.locator('[data-step="protocols"] input').uncheck();
  await page.getByRole("button", { name: "Remember the ticks" }).click();
  await expect(page.locator('[data-step="protocols"] input')).not.toBeChecked();
});

test("the checks run to the end on the server even if the tab closes", async ({ page, context, demo }) => {
  await configureByHand(page, demo);
  await demo.faults({ slow_ms: 400 });
  await page.goto(demo.url + ACCOUNT);
  await page.getByRole("button", { name: "Configure & Test" }).click();
  await atMicrosoft(page, "admin@demo.example");
  await accept(page);
  await page.waitForURL(/\/attempts\//);
  await expect(stop(page, "token")).toHaveAttribute("data-status", "passed");
  const address = page.url();
  await page.close();
  const again = await context.newPage();
  await again.goto(address);
  await outcome(again, "passed");
});
