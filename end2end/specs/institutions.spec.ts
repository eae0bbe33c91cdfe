// Two institutions on one server cannot see or change each other.
import { expect, test } from "../fixtures/test";
import { ACCOUNT, CONFIG, configure, connect, outcome, signInByForm, signOut } from "../fixtures/steps";

test("accounts, sessions, settings, attempts and people stay apart", async ({ page, demo, context }) => {
  await configure(page, demo);
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");
  const attempt = new URL(page.url()).pathname;
  const cookies = await context.cookies(demo.url);
  await signOut(page);

  // A session of one institution is invalid in the other.
  const session = cookies.find((cookie) => cookie.name === "entrepost_session")!;
  await context.addCookies([{ name: session.name, value: session.value, url: demo.second() }]);
  await page.goto(demo.second("/"));
  await expect(page).toHaveURL(/\/login/);

  await signInByForm(page, demo.second(), "admin@demo.example");
  await page.goto(demo.second(CONFIG));
  await expect(page.getByLabel("Email Provider")).toHaveValue("system_default");
  await page.getByLabel("Email Provider").selectOption({ label: "MS Exchange Online" });
  await expect(page.getByLabel("Client ID", { exact: true })).toHaveValue("");
  await page.goto(demo.second(ACCOUNT));
  await expect(page.getByText("hasn't set up MS Exchange Online yet")).toBeVisible();
  const answer = await page.goto(demo.second(attempt));
  expect(answer?.status()).toBe(404);
  await page.goto(demo.second("/institution/users"));
  await expect(page.locator("[data-person]").getByText("Not connected")).toHaveCount(2);
});

test("an unknown host gets a plain 404", async ({ page, demo }) => {
  const answer = await page.goto(demo.url.replace("//demo.", "//nobody."));
  expect(answer?.status()).toBe(404);
  await expect(page.getByText("There is no institution at this address.")).toBeVisible();
  const health = await page.request.get(demo.url.replace("//demo.", "//127.0.0.1.").replace("127.0.0.1.localhost", "localhost") + "/healthz");
  expect(health.status()).toBe(200);
});
