// A certificate and a federated credential in place of the secret, from the page to a connected mailbox.
import { expect, isPlain, test } from "../fixtures/test";
import { everyLook } from "../fixtures/looks";
import { CONFIG, configure, connect, edit, outcome, save, useCertificate } from "../fixtures/steps";

const CREDENTIALS = `${CONFIG}/credentials`;

test("a certificate that is made here and uploaded at Microsoft", async ({ page, demo }) => {
  await configure(page, demo);
  await demo.faults({ secrets_forbidden: true });
  await useCertificate(page, demo, async (pem) => {
    if (!isPlain(page)) await everyLook(page, "credentials");
    expect(pem).toContain("BEGIN CERTIFICATE");
    expect(pem).not.toContain("PRIVATE");
  });
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");
  await page.goto(demo.url + CONFIG);
  await expect(page.getByText("Certificate, expires on")).toBeVisible();
  if (!isPlain(page)) await everyLook(page, "config-summary");
  await edit(page);
  if (!isPlain(page)) await everyLook(page, "config-edited");
  // Now that the app has more than a secret, passwords can be switched off, once a second administrator's is known.
  await page.goto(`${demo.url}/institution/config/general/sign-in`);
  await page.getByLabel("Only two administrators, for emergencies; everyone else signs in with Microsoft").check();
  await save(page);
  await expect(page.getByText("At least 2 administrators must have signed in").first()).toBeVisible();
  if (!isPlain(page)) await everyLook(page, "sign-in-rules");
});

test("a federated credential: nothing to renew", async ({ page, demo }) => {
  await configure(page, demo);
  await page.goto(demo.url + CREDENTIALS);
  const values: Record<string, string> = {};
  for (const name of ["Issuer", "Subject identifier", "Audience"]) {
    const field = page.locator(".field").filter({ has: page.getByText(name, { exact: true }) });
    values[name] = await field.locator("code").innerText();
  }
  await page.goto(demo.url + CONFIG);
  await page.getByLabel("A federated credential: nothing expires").check();
  await save(page);
  await expect(page.getByText("Microsoft doesn't know the federated credential yet.").first()).toBeVisible();
  await page.goto(demo.portal);
  await page.getByLabel("Issuer").fill(values["Issuer"]);
  await page.getByLabel("Subject").fill(values["Subject identifier"]);
  await page.getByLabel("Audience").fill(values["Audience"]);
  await page.getByRole("button", { name: "Add federated credential" }).click();
  await page.goto(demo.url + CONFIG);
  await page.getByRole("button", { name: "Check again" }).first().click();
  await expect(page.getByText("Microsoft accepted the credentials.").first()).toBeVisible();
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");
  await page.goto(demo.url + CREDENTIALS);
  await expect(page.getByRole("heading", { name: "In use: Federated credential" })).toBeVisible();
  if (!isPlain(page)) await everyLook(page, "credentials-federated");
});
