//! What values that hold secrets show of themselves in traces and panics.

use super::http::origin;
use super::job::{InitAction, Notification, S3Transfer, ServiceSpec, WaitHttp};
use super::overrides::Overrides;
use std::fmt;

/// Names without their values.
struct Hidden<'a>(&'a [(String, String)]);

impl fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, _)| (name, format_args!("…")))).finish()
    }
}

/// Without the values of `env`, some of which may be the caller's own.
impl fmt::Debug for ServiceSpec {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let ServiceSpec {
            name,
            deployment,
            image,
            command,
            env,
            resources,
            storage,
            process,
            security,
            network,
            init_steps,
            on_init_failure,
            stop,
            labels,
            logs,
            policy,
            hidden_env,
        } = self;
        f.debug_struct("ServiceSpec")
            .field("name", name)
            .field("deployment", deployment)
            .field("image", image)
            .field("command", command)
            .field("env", &Hidden(env))
            .field("resources", resources)
            .field("storage", storage)
            .field("process", process)
            .field("security", security)
            .field("network", network)
            .field("init_steps", init_steps)
            .field("on_init_failure", on_init_failure)
            .field("stop", stop)
            .field("labels", labels)
            .field("logs", logs)
            .field("policy", policy)
            .field("hidden_env", hidden_env)
            .finish()
    }
}

/// As a [`ServiceSpec`].
impl fmt::Debug for InitAction {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            InitAction::Run { command, env, user, workdir, image } => f
                .debug_struct("Run")
                .field("command", command)
                .field("env", &Hidden(env))
                .field("user", user)
                .field("workdir", workdir)
                .field("image", image)
                .finish(),
            InitAction::WaitTcp { host, port, interval } => {
                f.debug_struct("WaitTcp").field("host", host).field("port", port).field("interval", interval).finish()
            }
            InitAction::WaitHttp(wait) => f.debug_tuple("WaitHttp").field(wait).finish(),
            InitAction::S3(transfer) => f.debug_tuple("S3").field(transfer).finish(),
        }
    }
}

/// As a [`ServiceSpec`].
impl fmt::Debug for Overrides {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Overrides { name, image, args, env, .. } = self;
        f.debug_struct("Overrides")
            .field("name", name)
            .field("image", image)
            .field("args", args)
            .field("env", &Hidden(env))
            .finish_non_exhaustive()
    }
}

/// Without the values of `env`.
impl fmt::Debug for S3Transfer {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let S3Transfer {
            direction,
            bucket,
            key,
            path,
            endpoint,
            region,
            env,
            credentials_file,
            anonymous,
            ca_bundle,
            addressing_style,
        } = self;
        f.debug_struct("S3Transfer")
            .field("direction", direction)
            .field("bucket", bucket)
            .field("key", key)
            .field("path", path)
            .field("endpoint", endpoint)
            .field("region", region)
            .field("env", &Hidden(env))
            .field("credentials_file", credentials_file)
            .field("anonymous", anonymous)
            .field("ca_bundle", ca_bundle)
            .field("addressing_style", addressing_style)
            .finish()
    }
}

/// Without the values of headers, and of the address only scheme, host and port.
impl fmt::Debug for WaitHttp {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let WaitHttp { url, method, headers, expect_status, interval, insecure_skip_verify } = self;
        f.debug_struct("WaitHttp")
            .field("url", &origin(url))
            .field("method", method)
            .field("headers", &Hidden(headers))
            .field("expect_status", expect_status)
            .field("interval", interval)
            .field("insecure_skip_verify", insecure_skip_verify)
            .finish()
    }
}

/// Without the values of headers, and of the address only scheme, host and port: the path of a webhook is
/// often all that it asks for.
impl fmt::Debug for Notification {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Notification::Job { name } => f.debug_struct("Job").field("name", name).finish(),
            Notification::Post { url, headers } => {
                f.debug_struct("Post").field("url", &origin(url)).field("headers", &Hidden(headers)).finish()
            }
        }
    }
}
