#include "model/weights/config_reader.h"

#include <algorithm>

namespace elastron::model {

void ConfigReader::fail(const std::string& what, const std::string& todo) const {
  throw ConfigFault(what, where_, todo);
}

std::string ConfigReader::named(const std::string& key) const {
  return "'" + key + "'" + (inside_.empty() ? "" : " of '" + inside_ + "'");
}

bool ConfigReader::has(const std::string& key) const {
  const auto it = object_.find(key);
  return it != object_.end() && !it->is_null();
}

void ConfigReader::refuse_null(const char* key) const {
  const auto it = object_.find(key);
  if (it == object_.end() || !it->is_null()) return;
  fail(named(key) + " is null", "give the model's value, or leave the key out for the usual one");
}

int64_t ConfigReader::integer(const char* key, int64_t least, int64_t most,
                              std::optional<int64_t> missing) const {
  if (!has(key)) {
    if (missing) return *missing;
    fail(named(key) + " is missing", "use a whole config.json");
  }
  return whole_number(at(key), key, least, most);
}

int64_t ConfigReader::whole_number(const nlohmann::json& value, const char* key, int64_t least,
                                   int64_t most) const {
  const bool fits = value.is_number_unsigned()
                        ? value.get<uint64_t>() >= uint64_t(std::max<int64_t>(least, 0)) &&
                              value.get<uint64_t>() <= uint64_t(most)
                        : value.is_number_integer() && value.get<int64_t>() >= least;
  if (!fits) {
    fail(named(key) + " is " + shown(value) + ", not a whole number from " + std::to_string(least) +
             " to " + std::to_string(most),
         "correct the value");
  }
  return value.get<int64_t>();
}

double ConfigReader::number(const char* key, std::optional<double> missing) const {
  if (!has(key)) {
    if (missing) return *missing;
    fail(named(key) + " is missing", "add it");
  }
  if (!at(key).is_number() || !(at(key).get<double>() > 0)) {
    fail(named(key) + " is " + shown(at(key)) + ", not a positive number", "correct the value");
  }
  return at(key).get<double>();
}

bool ConfigReader::boolean(const char* key, bool missing) const {
  if (!has(key)) return missing;
  if (!at(key).is_boolean()) {
    fail(named(key) + " is " + shown(at(key)) + ", not true or false", "correct the value");
  }
  return at(key).get<bool>();
}

std::string ConfigReader::text(const char* key, const char* missing) const {
  if (!has(key)) return missing;
  if (!at(key).is_string()) {
    fail(named(key) + " is " + shown(at(key)) + ", not a text", "correct the value");
  }
  return at(key).get<std::string>();
}

std::string shown(const nlohmann::json& value) {
  constexpr size_t kMost = 60;
  const std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true);
  return text.size() > kMost ? text.substr(0, kMost) + "..." : text;
}

}  // namespace elastron::model
