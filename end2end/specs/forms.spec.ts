// Form results: focus moves to the message, and the page title repeats it.
import { expect, test } from "../fixtures/test";
import { ACCOUNT, CONFIG, configure, connect, fillRegistration, outcome, signInByForm, signOut } from "../fixtures/steps";
import type { Page } from "@playwright/test";

const ME = "admin@demo.example";
/** What a browser takes for an address, and no mail server does. */
const WRONG = "two..dots@demo.example";

/** An error of fields: the summary has the focus, and leads to the field. */
async function refused(page: Page, field: string): Promise<void> {
  await expect(page).toHaveTitle(/^Error · /);
  await expect(page.locator(":focus")).toHaveAttribute("id", "errors");
  await expect(page.locator(`#errors a[href="#${field}"]`)).toBeVisible();
  await expect(page.locator(`#${field}`)).toHaveAttribute("aria-invalid", "true");
}

/** A notice has the focus, and the title begins with it. */
async function said(page: Page, words: string): Promise<void> {
  await expect(page.locator(":focus")).toContainText(words);
  expect(await page.title()).toContain(" · ");
  expect((await page.title()).startsWith(words.replace(/\.$/, "")), await page.title()).toBe(true);
}

test("signing in and out, an invitation", async ({ page, demo, newcomer }) => {
  await page.goto(`${demo.url}/login`);
  await page.getByLabel("Email").fill(ME);
  await page.getByLabel("Password").fill("not the password");
  await page.getByRole("button", { name: "Sign in" }).click();
  await said(page, "Wrong email or password.");
  await signInByForm(page, demo.url, ME);
  await signOut(page);
  await said(page, "You are signed out.");
  await signInByForm(page, demo.url, ME);
  await page.goto(`${demo.url}/institution/users`);
  await page.getByLabel("Email", { exact: true }).fill(WRONG);
  await page.getByRole("button", { name: "Invite", exact: true }).click();
  await refused(page, "email");
  await page.getByLabel("Email", { exact: true }).fill("new@demo.example");
  await page.getByRole("button", { name: "Invite", exact: true }).click();
  await expect(page.locator(":focus")).toContainText("new@demo.example");
  const link = await page.locator(".copyable code").first().innerText();
  const invited = await newcomer();
  await invited.goto(link);
  await invited.getByLabel("Password", { exact: true }).fill("short");
  await invited.getByLabel("Confirm password").fill("short");
  await invited.locator("form .button").click();
  await refused(invited, "password");
});

test("configuration, connecting, further addresses", async ({ page, demo }) => {
  await signInByForm(page, demo.url, ME);
  await page.goto(demo.url + CONFIG);
  await page.getByLabel("Email Provider").selectOption({ label: "MS Exchange Online" });
  await page.getByLabel("Client ID", { exact: true }).fill("not an id");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await refused(page, "client_id");
  await fillRegistration(page, demo);
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await expect(page.locator(":focus")).toContainText("Microsoft accepted the credentials.");
  await page.goto(demo.url + ACCOUNT);
  await page.getByLabel("Email address").fill(WRONG);
  await page.getByRole("button", { name: "Configure & Test" }).click();
  await refused(page, "email");
  await connect(page, demo, ME);
  await outcome(page, "passed");
  await expect(page).toHaveTitle(/^Connected · /);
  await page.goto(demo.url + ACCOUNT);
  await page.getByText("Other addresses").first().click();
  await page.getByLabel("Other addresses").fill("not an address");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await refused(page, "aliases");
});

test("writing: what is wrong, what is kept, what is sent", async ({ page, demo }) => {
  await configure(page, demo);
  await connect(page, demo, ME);
  await outcome(page, "passed");
  await page.goto(`${demo.url}/mail/compose`);
  await page.getByLabel("To", { exact: true }).fill("nobody");
  await page.getByRole("button", { name: "Send" }).click();
  await refused(page, "to");
  await page.getByLabel("To", { exact: true }).fill("other@demo.example");
  await page.getByLabel("Subject").fill("Kept");
  await page.getByRole("button", { name: "Save draft" }).last().click();
  await expect(page.locator(":focus")).toContainText(/draft/i);
  await page.goto(`${demo.url}/mail/compose`);
  await page.getByLabel("To", { exact: true }).fill("other@demo.example");
  await page.getByLabel("Subject").fill("Sent");
  await page.getByLabel("Message").fill("Good morning");
  await page.getByRole("button", { name: "Send" }).click();
  await expect(page).toHaveURL(/outbox/);
  await expect(page.locator(".delivery").filter({ hasText: "Sent" }).first()).toBeVisible();
});

test("text grows with the size that the reader has chosen", async ({ page, demo }) => {
  await page.goto(`${demo.url}/login`);
  const size = (selector: string) => page.locator(selector).first().evaluate((one) => parseFloat(getComputedStyle(one).fontSize));
  const [text, field] = [await size("body"), await size("input")];
  expect(text).toBe(16);
  await page.locator("html").evaluate((html: HTMLElement) => (html.style.fontSize = "24px"));
  expect([await size("body"), await size("input")]).toEqual([24, (field / 16) * 24]);
});
