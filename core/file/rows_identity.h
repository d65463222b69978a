// What the rows of a file depend on, kept beside a file of rows that grows while a run goes on: a
// later start goes on with it only where all is as it was.
#pragma once
#include <map>
#include <string>

namespace elastron {

// Names and values: model, checkpoint, data, limits.
using RowsIdentity = std::map<std::string, std::string>;

// Writes the identity to `path` where `rows_path` has no rows yet, or compares it with what is there.
// Throws UsageError naming `rows_path` and what differs, with `todo`; InputError where `path` is no
// identity.
void claim_rows(const std::string& path, const std::string& rows_path, const RowsIdentity& identity,
                const std::string& todo);

}  // namespace elastron
