//! Active checks of endpoints, models and dependencies.
//!
//! The prober owns time and sockets; what a row of results amounts to, and when to ask again, is
//! decided by `mainstay_policy::health`. It tells an [`Observer`] what it finds and changes
//! nothing itself.
//!
//! Four questions are kept apart, because their answers call for different actions:
//!
//! | question | asked how | if not |
//! |---|---|---|
//! | live? | does it answer at all | dead: no traffic |
//! | ready? | does this model there say so | loading: no traffic, and no failure either |
//! | right? | does it answer a known question as it must | wrong: no traffic |
//! | deep? | are its declared dependencies healthy | asked after its peers, not ejected |

mod check;
mod prober;
mod scraper;
pub mod sentinel;

pub use check::call::call;
pub use check::golden::{GoldenProbe, round as ask_golden};
pub use check::{Found, ModelName, Probe, probe};
pub use prober::{Observer, Prober, Probing, Subject};
pub use scraper::{Page, Scraping, Tally, scrape};
