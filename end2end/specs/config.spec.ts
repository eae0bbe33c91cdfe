// Institution Config > General > Email: what Save refuses, keeps, asks; notifications.
import { everyLook } from "../fixtures/looks";
import { expect, isPlain, test } from "../fixtures/test";
import { accept, ACCOUNT, atMicrosoft, CONFIG, configure, connect, customFrom, decline, edit, fillRegistration, outcome, save, signIn } from "../fixtures/steps";

test("the Secret ID in Client Secret is refused in these words, and what was typed stays", async ({ page, demo }) => {
  await signIn(page, demo.url, "admin@demo.example");
  await page.goto(demo.url + CONFIG);
  const app = await demo.registration();
  await fillRegistration(page, demo, { secret: ` ${app.secret_id} ` });
  await page.getByLabel("Secret expires on").fill("2030-01-31");
  await save(page);
  await expect(page.locator("#client_secret-error")).toContainText("This is the Secret ID, paste the Value");
  await expect(page.getByLabel("Client ID", { exact: true })).toHaveValue(app.client_id);
  await expect(page.getByLabel("Tenant ID", { exact: true })).toHaveValue(app.tenant_id);
  await expect(page.getByLabel("Secret expires on")).toHaveValue("2030-01-31");
  await expect(page.getByLabel("Client Secret", { exact: true })).toHaveValue("");
  await page.getByRole("link", { name: /Client Secret:/ }).click();
  await expect(page.getByLabel("Client Secret", { exact: true })).toBeFocused();
});

test("one step at a time: a plain page each, at a phone's width too", async ({ page, demo }) => {
  test.setTimeout(120_000);
  await page.setViewportSize({ width: 360, height: 740 });
  await signIn(page, demo.url, "admin@demo.example");
  await page.goto(demo.url + CONFIG);
  await page.getByRole("link", { name: "Show one step at a time" }).click();
  const titles = ["Register the app at Microsoft", "Paste its values", "Consent for everyone", "Switch on sending and receiving", "Connect your own mailbox", "Invite people"];
  for (const [at, title] of titles.entries()) {
    await expect(page.locator(".setup-step")).toHaveCount(1);
    await expect(page.getByRole("heading", { name: `${at + 1}. ${title}` })).toBeVisible();
    await expect(page.getByText(`Step ${at + 1} of 6: ${title}`)).toBeVisible();
    if (at === 1 && !isPlain(page)) await everyLook(page, "config-one-step");
    if (at === 1) {
      // Save works from here, too.
      await expect(page.getByLabel("Client ID", { exact: true })).toBeVisible();
      await fillRegistration(page, demo, { client: "not an ID" });
      await save(page);
      await expect(page.locator("#client_id-error")).toBeVisible();
      await expect(page).toHaveURL(/step=setup-values$/);
      await fillRegistration(page, demo);
      await save(page);
      await expect(page.getByText("Microsoft accepted the credentials.").first()).toBeVisible();
      await expect(page).toHaveURL(/step=setup-values$/);
    }
    if (at < 5) await page.getByRole("link", { name: `Next: ${titles[at + 1]}` }).click();
  }
  await page.getByRole("link", { name: "Back: Connect your own mailbox" }).click();
  await expect(page.getByText("Step 5 of 6")).toBeVisible();
  await page.getByRole("link", { name: "Show all steps" }).click();
  await expect(page.locator(".setup-step")).toHaveCount(6);
});

for (const [what, change, field, says] of [
  ["client ID", { client: "0f8fad5b-d9cb-469f-a165-70867728950e" }, "client_id", "The Client ID is not known in this tenant."],
  ["tenant ID", { tenant: "0f8fad5b-d9cb-469f-a165-70867728950e" }, "tenant_id", "The Tenant ID is wrong."],
  ["client secret", { secret: "wrong~secret" }, "client_secret", "The Client Secret is wrong."],
  ["shared tenant", { tenant: "common" }, "tenant_id", "means every tenant"],
] as const) {
  test(`Save says that the ${what} is wrong, and stores nothing`, async ({ page, demo }) => {
    await signIn(page, demo.url, "admin@demo.example");
    await page.goto(demo.url + CONFIG);
    await fillRegistration(page, demo, change);
    await save(page);
    await expect(page.locator(`#${field}-error`)).toContainText(says);
    await expect(page.getByText("Nothing was saved.")).toBeVisible();
    await page.goto(demo.url + CONFIG);
    await expect(page.getByLabel("Email Provider")).toHaveValue("system_default");
  });
}

test("a tenant domain is resolved to its GUID, pasted blanks are trimmed", async ({ page, demo }) => {
  await signIn(page, demo.url, "admin@demo.example");
  await page.goto(demo.url + CONFIG);
  const app = await demo.registration();
  await fillRegistration(page, demo, { tenant: ` ${app.tenant_domain} `, client: ` ${app.client_id}  ` });
  await save(page);
  await expect(page.getByText("Microsoft accepted the credentials.").first()).toBeVisible();
  await expect(page.getByLabel("Tenant ID", { exact: true })).toHaveValue(app.tenant_id);
});

test("the secret goes in and never comes out; an empty field keeps it; it can be removed", async ({ page, demo }) => {
  const answers: string[] = [];
  page.on("response", async (response) => {
    if (response.url().startsWith(demo.url)) answers.push(await response.text().catch(() => ""));
  });
  await configure(page, demo);
  const app = await demo.registration();
  await expect(page.getByText("Secret saved")).toBeVisible();
  await save(page);
  await expect(page.getByText("Microsoft accepted the credentials.").first()).toBeVisible();
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");
  expect(answers.length).toBeGreaterThan(5);
  expect(answers.join("")).not.toContain(app.secret_value);
  await page.goto(demo.url + CONFIG);
  await edit(page);
  await page.getByLabel("Remove the Client Secret and the registration").check();
  await save(page);
  await expect(page.getByText("Remove the Client Secret?")).toBeVisible();
  await expect(page.getByLabel("Remove the Client Secret and the registration")).toBeChecked();
  await page.getByLabel("Yes, end the connections").check();
  await save(page);
  await expect(page.getByText("Client Secret removed.")).toBeVisible();
  await page.goto(demo.url + ACCOUNT);
  await expect(page.locator('[data-mailbox="needs_reconnect"]')).toBeVisible();
});

test("Microsoft unreachable: stored as unverified, said plainly, Verify again", async ({ page, demo }) => {
  await signIn(page, demo.url, "admin@demo.example");
  await demo.faults({ unavailable: true });
  await page.goto(demo.url + CONFIG);
  await fillRegistration(page, demo);
  await save(page);
  await expect(page.getByText("Microsoft didn't answer.").first()).toBeVisible();
  await expect(page.getByText("Saved, but not checked.")).toBeVisible();
  await demo.faults({ unavailable: false });
  await page.getByRole("button", { name: "Check again" }).click();
  await expect(page.getByText("Microsoft accepted the credentials.").first()).toBeVisible();
});

test("where verified values exist, new ones wait beside them, unused, until they are accepted", async ({ page, demo }) => {
  await configure(page, demo);
  const app = await demo.registration();
  await demo.faults({ unavailable: true });
  await fillRegistration(page, demo);
  await save(page);
  await expect(page.getByRole("heading", { name: "New values not in use yet" })).toBeVisible();
  await demo.faults({ unavailable: false });
  await page.getByRole("button", { name: "Check again" }).click();
  await expect(page.getByText("Microsoft accepted the credentials.").first()).toBeVisible();
  await expect(page.getByRole("heading", { name: "New values not in use yet" })).toHaveCount(0);
  await expect(page.getByLabel("Client ID", { exact: true })).toHaveValue(app.client_id);
});

test("admin consent: the link, its return, remembered", async ({ page, demo }) => {
  await configure(page, demo);
  await page.getByRole("button", { name: "Grant admin consent" }).click();
  await page.getByLabel("Email or sign-in name").fill("admin@demo.example");
  await page.getByLabel("Password").fill("sandbox");
  await accept(page);
  await expect(page.getByText("Admin consent granted.")).toBeVisible();
  await page.goto(demo.url + CONFIG);
  await expect(page.locator('[data-step="consent"] input')).toBeChecked();
  await connect(page, demo, "admin@demo.example", false);
  await outcome(page, "passed");

  await page.goto(demo.url + CONFIG);
  await edit(page);
  await page.getByRole("button", { name: "Grant admin consent" }).click();
  await decline(page);
  await expect(page.getByText("Admin consent was not granted.")).toBeVisible();
});

test("sending without SMTP: allowed, consented to, tested, used", async ({ page, demo }) => {
  await configure(page, demo);
  await demo.faults({ smtp_auth: "tenant" });
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "failed");
  await expect(page.getByText("let these mailboxes send through Microsoft Graph").first()).toBeAttached();

  await page.goto(demo.url + CONFIG);
  await page.getByLabel("Use it for mailboxes whose SMTP is switched off").check();
  await page.getByRole("button", { name: "Use this way" }).click();
  await expect(page.getByText("Saved.")).toBeVisible();
  await expect(page.getByText("Mail.ReadWrite", { exact: true })).toBeVisible();
  if (!isPlain(page)) await everyLook(page, "config-graph");
  if (await page.locator(".edit-setup > summary").count()) await edit(page);
  await page.getByRole("button", { name: "Grant admin consent" }).click();
  await page.getByLabel("Email or sign-in name").fill("admin@demo.example");
  await page.getByLabel("Password").fill("sandbox");
  await accept(page);
  await expect(page.getByText("Admin consent granted.")).toBeVisible();

  await page.goto(demo.url + ACCOUNT);
  await page.getByRole("button", { name: "Test again" }).first().click();
  await outcome(page, "passed");
  await expect(page.getByText("Microsoft Graph is ready")).toBeVisible();
  await expect(page.getByText("switched off; Microsoft Graph is used instead")).toBeVisible();
  if (!isPlain(page)) await everyLook(page, "attempt-graph");
  await page.goto(demo.url + ACCOUNT);
  await expect(page.getByText("sends through Microsoft Graph")).toBeVisible();
  await page.goto(`${demo.url}/mail/compose`);
  await page.getByLabel("To", { exact: true }).fill("other@demo.example");
  await page.getByLabel("Subject").fill("By the other way");
  await page.getByRole("button", { name: "Send" }).click();
  await expect(page).toHaveURL(/\/mail\/outbox/);
  await expect.poll(async () => (await demo.mails()).filter((mail) => mail.raw.includes("Subject: By the other way") && mail.folder === "INBOX").length).toBe(1);
});

test("notifications from a mailbox of their own", async ({ page, demo }) => {
  await configure(page, demo);
  await page.getByLabel("Yes", { exact: true }).check();
  await page.getByLabel("Custom From address").fill("office.manager@demo.example");
  await save(page);
  await expect(page.getByText("Microsoft accepted the credentials.").first()).toBeVisible();
  await page.locator("#notifications").getByRole("button", { name: "Configure & Test" }).click();
  await atMicrosoft(page, "office.manager@demo.example");
  await accept(page);
  await outcome(page, "passed");
  await page.goto(demo.url + CONFIG);
  await expect(page.getByText("Sent from office.manager@demo.example.")).toBeVisible();
  await page.goto(`${demo.url}/institution/users`);
  await page.getByLabel("Email", { exact: true }).fill("other@demo.example");
  await page.getByRole("button", { name: "Invite", exact: true }).click();
  await expect(page.getByText("from office.manager@demo.example")).toBeVisible();
});

test("a shared address through a connected mailbox: the pair is tested with a real message", async ({ page, demo }) => {
  await configure(page, demo);
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");
  await customFrom(page, demo, "noreply@demo.example");
  await expect(page.getByText("Microsoft accepted the credentials.").first()).toBeVisible();
  await page.getByLabel("Send through a connected mailbox").selectOption({ label: "admin@demo.example" });
  await page.getByRole("button", { name: "Send a test" }).click();
  await outcome(page, "passed");
  await page.goto(demo.url + CONFIG);
  await expect(page.getByText("Sent from noreply@demo.example.")).toBeVisible();
});

test("a user cannot open the configuration", async ({ page, demo }) => {
  await signIn(page, demo.url, "user@demo.example");
  const answer = await page.goto(demo.url + CONFIG);
  expect(answer?.status()).toBe(403);
  await expect(page.getByText("Only administrators can do this.")).toBeVisible();
  await expect(page.getByRole("link", { name: "Institution", exact: true })).toHaveCount(0);
});
