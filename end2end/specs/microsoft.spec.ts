// Sign in with Microsoft: signed in and connected in one go, and refused where no one knows the account.
import { everyLook } from "../fixtures/looks";
import type { Faults } from "../fixtures/demo";
import { expect, isPlain, test } from "../fixtures/test";
import { accept, atMicrosoft, configure, connect, outcome, signIn, signOut } from "../fixtures/steps";

test.setTimeout(120_000);

for (const script of [true, false]) {
  test.describe(script ? "with JavaScript" : "without JavaScript", () => {
    test.use({ script });

    test("an invited person signs in with Microsoft and is connected", async ({ page, demo, newcomer }) => {
      await configure(page, demo);
      await page.goto(`${demo.url}/institution/users`);
      await page.getByLabel("Email", { exact: true }).fill("other@demo.example");
      await page.getByRole("button", { name: "Invite", exact: true }).click();
      await expect(page.getByText("other@demo.example is invited.")).toBeVisible();
      const link = await page.locator(".copyable code").first().innerText();
      const invited = await newcomer();
      await invited.goto(link);
      if (!isPlain(invited)) await everyLook(invited, "invitation-microsoft");
      await invited.getByRole("button", { name: "Sign in with Microsoft" }).click();
      await atMicrosoft(invited, "other@demo.example");
      await accept(invited);
      await invited.waitForURL(/\/attempts\//);
      await expect(async () => {
        await invited.reload();
        await expect(invited.locator(".attempt")).toHaveAttribute("data-outcome", "passed", { timeout: 1_000 });
      }).toPass({ timeout: 45_000 });
      await signOut(invited);
      await invited.getByRole("link", { name: "Sign in with Microsoft" }).click();
      await invited.getByRole("heading", { name: "Pick an account" }).waitFor();
      await invited.getByRole("button", { name: "other@demo.example" }).click();
      if (isPlain(invited)) await invited.getByRole("button", { name: "Complete the sign-in" }).click();
      await expect(invited.getByRole("heading", { name: "Home" })).toBeVisible();
    });

    test("an account that no one invited is told whom to ask", async ({ page, demo, newcomer }) => {
      await configure(page, demo);
      const stranger = await newcomer();
      await stranger.goto(`${demo.url}/login`);
      if (!isPlain(stranger)) await everyLook(stranger, "login-microsoft");
      await stranger.getByRole("link", { name: "Sign in with Microsoft" }).click();
      await atMicrosoft(stranger, "other@demo.example");
      await accept(stranger);
      await expect(stranger.getByText("This Microsoft account isn't known here.")).toBeVisible();
      await expect(stranger.getByText("Ask your administrator for an invitation")).toBeVisible();
      if (!isPlain(stranger)) await everyLook(stranger, "login-unknown-account");
    });
  });
}

/** What Microsoft says, and what a person reads on the sign-in page. */
const REFUSALS: [string, Faults, string][] = [
  ["a second factor is missing", { token_error: 50076 }, "Microsoft asks for a second factor."],
  ["a policy blocks the sign-in", { token_error: 53003 }, "A security policy of your institution blocked the sign-in."],
  ["not assigned to the app", { token_error: 50105 }, "You aren't assigned to the app."],
  ["consent is missing", { token_error: 65001 }, "An administrator must allow the app first."],
  ["the tenant's own sign-in server", { token_error: 50107 }, "Microsoft doesn't accept the answer of your institution's sign-in server."],
  ["disabled at Microsoft", { token_error: 50057 }, "This account is disabled at Microsoft."],
  ["the app's secret has expired", { secret_expired: true }, "Your institution's app can no longer sign in at Microsoft."],
  ["Microsoft is not available", { token_page: true }, "The authority's answer can't be read."],
];

test("each way in which Microsoft refuses a sign-in has its text", { tag: "@script" }, async ({ page, demo, newcomer }) => {
  await configure(page, demo);
  await signOut(page);
  await signIn(page, demo.url, "user@demo.example");
  await connect(page, demo, "user@demo.example");
  await outcome(page, "passed");
  await signOut(page);
  const tries = async (name: string) => {
    await page.context().clearCookies({ domain: "localhost" });
    await page.goto(`${demo.url}/login`);
    await page.getByRole("link", { name: /^Sign in with Microsoft/ }).click();
    await atMicrosoft(page, name);
  };
  for (const [name, faults, says] of REFUSALS) {
    await test.step(name, async () => {
      await demo.faults(faults);
      await tries("user@demo.example");
      await expect(page.getByText(says).first(), name).toBeVisible();
      await expect(page.getByRole("button", { name: "Sign in", exact: true })).toBeVisible();
      await demo.faults(Object.fromEntries(Object.entries(faults).map(([fault, value]) => [fault, typeof value === "number" ? 0 : false])));
    });
  }

  // Two accounts in one browser: the picker asks, and only the known one opens.
  await tries("user@demo.example");
  await expect(page.getByRole("heading", { name: "Home" })).toBeVisible();
  await signOut(page);
  await page.goto(`${demo.url}/login`);
  await page.getByRole("link", { name: /^Sign in with Microsoft/ }).click();
  await page.getByRole("heading", { name: "Pick an account" }).waitFor();
  await page.getByRole("button", { name: "Use another account" }).click();
  await atMicrosoft(page, "other@demo.example");
  const accepts = page.getByRole("button", { name: "Accept" });
  await expect(accepts.or(page.getByText("This Microsoft account isn't known here."))).toBeVisible();
  if (await accepts.isVisible()) await accepts.click();
  await expect(page.getByText("This Microsoft account isn't known here.")).toBeVisible();

  // A guest of the tenant.
  await demo.claims({ acct: "1" });
  await tries("other@demo.example");
  await expect(page.getByText("This is a guest account.")).toBeVisible();
  await demo.claims({});

  // The link of another person.
  const admin = await newcomer();
  await signIn(admin, demo.url, "admin@demo.example");
  await admin.goto(`${demo.url}/institution/users`);
  await admin.getByLabel("Email", { exact: true }).fill("office.manager@demo.example");
  await admin.getByRole("button", { name: "Invite", exact: true }).click();
  const link = await admin.locator(".copyable code").first().innerText();
  await page.context().clearCookies({ domain: "localhost" });
  await page.goto(link);
  await page.getByRole("button", { name: /^Sign in with Microsoft/ }).click();
  await atMicrosoft(page, "user@demo.example");
  await expect(page.getByText("This Microsoft account belongs to another person here.")).toBeVisible();

  // A person who is disabled here, whatever Microsoft says.
  await admin.locator('[data-person="user@demo.example"] a').first().click();
  await admin.getByRole("button", { name: "Disable" }).click();
  await expect(admin.getByText("user@demo.example is disabled.")).toBeVisible();
  await tries("user@demo.example");
  await expect(page.getByText("This account is disabled at Entrepost. Ask your administrator.")).toBeVisible();
});
