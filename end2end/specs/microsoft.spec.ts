// Sign in with Microsoft: signed in and connected in one go, and refused where no one knows the account.
import { everyLook } from "../fixtures/looks";
import { expect, isPlain, test } from "../fixtures/test";
import { accept, atMicrosoft, configure, signOut } from "../fixtures/steps";

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
