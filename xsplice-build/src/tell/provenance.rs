//! What a payload was made from, as a statement (`--provenance`) and as a bill of materials
//! (`--sbom`). docs/provenance.md has the keys of both.
//!
//! Neither holds a time or a path of the machine, so that both are the same wherever the payload is
//! made again.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use xsplice_console::tree::{Tree, digest_of, digest_of_file};
use xsplice_link::Base;
use xsplice_link::link::Payload;
use xsplice_link::provenance::statement::{
    BUILD_ID, BUILD_TYPE, BuildDefinition, SHA256, TREE, input,
};
use xsplice_link::provenance::{Envelope, Resource, Statement};

use super::report::Report;
use crate::command::arguments::Arguments;

/// Version of the CycloneDX format.
const CYCLONEDX: &str = "1.6";

/// What both documents are made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made<'a> {
    /// The command line.
    pub arguments: &'a Arguments,
    /// The payload's name.
    pub name: &'a str,
    /// Where it is written.
    pub path: &'a Path,
    /// The payload.
    pub payload: &'a Payload,
    /// The image.
    pub base: &'a Base<'a>,
    /// The image's bytes.
    pub base_bytes: &'a [u8],
    /// What the JSON report says.
    pub report: &'a Report<'a>,
}

impl Made<'_> {
    /// The text of the envelope, which is not signed yet.
    ///
    /// # Errors
    ///
    /// An input that cannot be read again.
    pub(crate) fn provenance(&self) -> Result<String> {
        let definition = BuildDefinition {
            build_type: BUILD_TYPE.to_owned(),
            external_parameters: self.asked(),
            internal_parameters: self.found()?,
            resolved_dependencies: self.inputs()?,
        };
        let sha256 = digest_of(&self.payload.bytes);
        let subject = Resource::new(&file_name(self.path), SHA256, &sha256);
        let statement = Statement::new(subject, definition, self.version());
        Ok(Envelope::new(&statement)?.text()?)
    }

    fn version(&self) -> &str {
        let named = self.arguments.tool_version.as_deref();
        named.unwrap_or(env!("CARGO_PKG_VERSION"))
    }

    /// What the user asked for.
    fn asked(&self) -> Value {
        let given = self.arguments;
        let mut options = Vec::new();
        for (option, is_on) in [
            ("prelink", given.prelink),
            ("no-base-proof", given.no_base_proof),
            ("no-account", given.no_account),
        ] {
            if is_on {
                options.push(option);
            }
        }
        json!({
            "name": self.name,
            "abi": given.abi.0.name,
            "make": given.make,
            "fixes": given.fixes,
            "accept": given.accept,
            "ignoreObjects": given.ignore_object,
            "options": options,
        })
    }

    /// What was found in the inputs.
    fn found(&self) -> Result<Value> {
        let accepted = self.report.accepted();
        let accepted: Vec<Value> = accepted
            .map(|one| json!({"object": one.object, "what": one.what, "why": one.message}))
            .collect();
        let records = self.payload.records.iter();
        let functions: Vec<Value> = records
            .map(|record| json!({"object": record.object, "name": record.name}))
            .collect();
        Ok(json!({
            "toolchain": serde_json::to_value(&self.report.toolchain)?,
            "accepted": accepted,
            "functions": functions,
        }))
    }

    fn inputs(&self) -> Result<Vec<Resource>> {
        let given = self.arguments;
        let mut base = Resource::new(input::BASE, SHA256, &digest_of(self.base_bytes));
        let id = self.base.build_id().to_string();
        base.digest.insert(BUILD_ID.to_owned(), id.clone());
        let mut inputs = vec![base];
        let work = given.work.as_deref();
        let source = given.src.as_deref();
        for (name, path) in [
            (input::ORIGINAL, Some(given.orig.as_path())),
            (input::PATCHED, Some(given.patched.as_path())),
            (input::SOURCE, source),
        ] {
            if let Some(path) = path {
                // The builds may have been made in a folder of the source.
                let is_work = |inner: &Path| Some(inner) == work && name == input::SOURCE;
                let tree = Tree::read(path, &is_work)
                    .with_context(|| format!("{}: cannot be read", path.display()))?;
                inputs.push(Resource::new(name, TREE, &tree.digest()));
            }
        }
        if let Some(path) = &given.patch {
            let sha256 = digest_of_file(path)
                .with_context(|| format!("{}: cannot be read", path.display()))?;
            inputs.push(Resource::new(input::PATCH, SHA256, &sha256));
        }
        let depends = self.payload.depends.to_string();
        if given.depends.is_some() && depends != id {
            inputs.push(Resource::new(input::BELOW, BUILD_ID, &depends));
        }
        Ok(inputs)
    }

    /// The bill of materials: one line.
    ///
    /// # Errors
    ///
    /// None in practice: it cannot be expressed in JSON.
    pub(crate) fn bill(&self) -> Result<String> {
        let fixes = self.arguments.fixes.iter();
        let resolves: Vec<Value> = fixes
            .map(|id| json!({"type": "security", "id": id, "name": id}))
            .collect();
        let hash = |bytes: &[u8]| json!([{"alg": "SHA-256", "content": digest_of(bytes)}]);
        let base_name = file_name(Path::new(self.base.path()));
        let (base_id, own_id) = (self.base.build_id(), &self.payload.build_id);
        let bill = json!({
            "bomFormat": "CycloneDX",
            "specVersion": CYCLONEDX,
            "version": 1,
            "metadata": {
                "tools": {"components": [{
                    "type": "application",
                    "name": "xsplice-build",
                    "version": self.version(),
                }]},
                "component": {
                    "type": "operating-system",
                    "bom-ref": format!("build-id:{base_id}"),
                    "name": base_name,
                    "version": base_id.to_string(),
                    "hashes": hash(self.base_bytes),
                },
            },
            "components": [{
                "type": "file",
                "bom-ref": format!("build-id:{own_id}"),
                "name": file_name(self.path),
                "version": own_id.to_string(),
                "hashes": hash(&self.payload.bytes),
                "pedigree": {"patches": [{"type": "monkey", "resolves": resolves}]},
            }],
        });
        Ok(serde_json::to_string(&bill)? + "\n")
    }
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
