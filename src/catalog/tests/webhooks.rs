//! Webhooks.

use super::*;

/// They were in no metric, and one that was on its way stayed so.
#[test]
fn what_is_given_up_because_too_much_waits_is_counted_as_failed() {
    let (data, catalog) = catalog();
    let id = crate::media::WebhookId::from_random(1);
    let events = vec![News::Ready];
    let webhook = Webhook { id: id.clone(), url: "http://a.example".into(), events, created_at_ms: 1, disabled: None };
    assert!(catalog.insert_webhook(&webhook).unwrap());
    catalog.insert_ready(&title(1, 1)).unwrap();
    let on_its_way = catalog.claim_delivery(&[], 1, 9).unwrap().unwrap();
    let waiting = format!(
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 9999)
         INSERT INTO deliveries (id, webhook, event, body, state, due_at_ms, created_at_ms)
         SELECT 'old' || x, '{id}', 'video.ready', '', 'queued', 1, 1 FROM n"
    );
    sql(data.path(), &waiting);
    assert_eq!((catalog.count_waiting().unwrap(), catalog.ended().deliveries), (10_000, Vec::new()));
    catalog.insert_ready(&title(2, 2)).unwrap();
    let failed = |count| vec![(DeliveryState::Failed, count)];
    assert_eq!((catalog.count_waiting().unwrap(), catalog.ended().deliveries), (10_000, failed(1)));
    let sending = "SELECT count(*) FROM deliveries WHERE sending = 1";
    assert_eq!(catalog.writer().query_row(sending, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    // Whoever had it in hand is too late to say how it ended.
    catalog.end_delivery(&on_its_way, Some(200), &Told::Delivered, 3).unwrap();
    assert_eq!(catalog.ended().deliveries, failed(1));
}
