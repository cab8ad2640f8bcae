//! A fleet feed: one JSON record per position update, keyed by truck, at a steady rate.
//!
//!     cargo run --release --example shipment_updates -- --bootstrap-server localhost:9092 --rate 50
//!
//! Options: --topic shipment_updates, --trucks 20, --rate 50 (records a second), --count 0 (0: until interrupted), --seed 1, and
//! --producer-property name=value as often as needed.

use client::{Config, Producer, ProducerRecord};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

struct Options {
    config: Config,
    topic: String,
    trucks: usize,
    rate: u64,
    count: u64,
    seed: u64,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        config: Config::bootstrap("localhost:9092").with("client.id", "shipment-updates"),
        topic: "shipment_updates".to_owned(),
        trucks: 20,
        rate: 50,
        count: 0,
        seed: 1,
    };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{name} needs a number, not {value}"));
        match name.as_str() {
            "--bootstrap-server" => options.config.set("bootstrap.servers", &value),
            "--topic" => options.topic = value,
            "--trucks" => options.trucks = number()?.max(1) as usize,
            "--rate" => options.rate = number()?.max(1),
            "--count" => options.count = number()?,
            "--seed" => options.seed = number()?,
            "--producer-property" => {
                let (name, value) = value.split_once('=').ok_or("--producer-property needs name=value")?;
                options.config.set(name, value);
            }
            _ => return Err(format!("unknown option {name}")),
        }
    }
    Ok(options)
}

const STATUS: [&str; 5] = ["LOADING", "IN_TRANSIT", "IN_TRANSIT", "DELAYED", "DELIVERED"];

struct Truck {
    id: String,
    latitude: f64,
    longitude: f64,
    heading: f64,
    shipment: u64,
    status: usize,
}

impl Truck {
    fn new(number: usize, rng: &mut fastrand::Rng) -> Self {
        Self {
            id: format!("truck-{number:04}"),
            latitude: 47.0 + rng.f64() * 7.0,
            longitude: 6.0 + rng.f64() * 9.0,
            heading: rng.f64() * std::f64::consts::TAU,
            shipment: rng.u64(100_000..999_999),
            status: rng.usize(..STATUS.len()),
        }
    }

    /// Moves the truck a little and returns its update.
    fn step(&mut self, now_ms: u128, rng: &mut fastrand::Rng) -> String {
        let speed = if STATUS[self.status] == "IN_TRANSIT" { rng.f64() * 30.0 + 60.0 } else { 0.0 };
        self.heading += rng.f64() * 0.2 - 0.1;
        self.latitude += self.heading.cos() * speed * 1e-5;
        self.longitude += self.heading.sin() * speed * 1e-5;
        if rng.f64() < 0.02 {
            self.status = (self.status + 1) % STATUS.len();
            if STATUS[self.status] == "LOADING" {
                self.shipment = rng.u64(100_000..999_999);
            }
        }
        format!(
            r#"{{"truck":"{}","shipment":"S-{}","status":"{}","latitude":{:.5},"longitude":{:.5},"speed_kmh":{:.1},"at_ms":{now_ms}}}"#,
            self.id, self.shipment, STATUS[self.status], self.latitude, self.longitude, speed
        )
    }
}

async fn feed(options: Options) -> Result<u64, client::Error> {
    let mut rng = fastrand::Rng::with_seed(options.seed);
    let mut trucks: Vec<Truck> = (0..options.trucks).map(|number| Truck::new(number, &mut rng)).collect();
    let producer = Producer::new(options.config)?;
    let mut ticks = tokio::time::interval(Duration::from_nanos(1_000_000_000 / options.rate));
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let mut sent = 0u64;
    let mut unreported: Option<client::producer::Delivery> = None;
    while options.count == 0 || sent < options.count {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = &mut interrupted => break,
        }
        let truck = sent as usize % trucks.len();
        let truck = &mut trucks[truck];
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis());
        let value = truck.step(now_ms, &mut rng);
        let record = ProducerRecord::new(&options.topic).key(truck.id.as_bytes()).value(value.as_bytes());
        unreported = Some(producer.send(&record).await?);
        sent += 1;
    }
    if let Some(last) = unreported {
        last.await?;
    }
    producer.close(Duration::from_secs(30)).await?;
    Ok(sent)
}

fn main() {
    let options = options().unwrap_or_else(|problem| {
        eprintln!("shipment_updates: {problem}");
        std::process::exit(1);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a tokio runtime can be started");
    match runtime.block_on(feed(options)) {
        Ok(sent) => eprintln!("{sent} updates sent"),
        Err(error) => {
            eprintln!("shipment_updates: {error}");
            std::process::exit(1);
        }
    }
}
