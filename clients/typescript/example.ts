// Sends a reading to the platform and lists what was found unusual.
import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

const client = createClient<paths>({
  baseUrl: process.env.ANOMALY_URL ?? "http://127.0.0.1:8000",
  headers: { Authorization: `Bearer ${process.env.ANOMALY_KEY}` },
});

const sent = await client.POST("/api/v1/telemetry", {
  body: [{ device_id: "press-001", metric_name: "temperature", value: 49.2 }],
});
if (sent.error) throw new Error(sent.error.detail ?? sent.error.title);
for (const verdict of sent.data.readings) {
  console.log(verdict.status, verdict.is_anomaly, verdict.series_status);
}

const found = await client.GET("/api/v1/ml/anomalies", {
  params: { query: { device_id: "press-001", limit: 5 } },
});
if (found.error) throw new Error(found.error.detail ?? found.error.title);
for (const anomaly of found.data.anomalies) {
  console.log(anomaly.timestamp, anomaly.metric_name, anomaly.value);
}
console.log(`${found.data.anomalies.length} anomalies`);
