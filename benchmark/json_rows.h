// Rows of JSON files that are not ours: each with its place for messages.
#pragma once
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/json_fields.h"

namespace elastron::benchmark {

// Calls `take` with each row and its place ("file:line"), in order. The place's rows are JSON lines,
// or, where the file begins with '[', one list (then "file, row n"). InputError for what is neither.
void for_each_row(const std::string& path,
                  const std::function<void(const nlohmann::json&, const std::string&)>& take);

// A field that is a list of strings; null or missing where `may_lack`: none.
std::vector<std::string> text_list(const JsonFields& fields, const std::string& name,
                                   bool may_lack = false);

// An object of the file, at most 16 MiB.
nlohmann::json read_json_object(const std::string& path);

}  // namespace elastron::benchmark
