#include "serving/body_fields.h"

#include <fmt/format.h>

namespace elastron::serving {

bool is_id(const nlohmann::json& value, int64_t vocab_size) {
  if (!value.is_number_integer()) return false;
  const auto id = value.get<int64_t>();  // of what is larger: a negative number
  return id >= 0 && id < vocab_size;
}

BodyFields::BodyFields(const nlohmann::json& body) : body_(body) {
  if (!body.is_object()) {
    throw ApiError(400, "invalid_request_error", "the body is no JSON object: send an object");
  }
}

const nlohmann::json* BodyFields::take(const std::string& name) {
  known_.insert(name);
  const auto it = body_.find(name);
  return it == body_.end() || it->is_null() ? nullptr : &*it;
}

std::optional<int64_t> BodyFields::integer(const std::string& name, int64_t least, int64_t most) {
  const nlohmann::json* value = take(name);
  if (value == nullptr) return {};
  const bool fits =
      value->is_number_integer() &&
      (value->is_number_unsigned()
           ? value->get<uint64_t>() <= uint64_t(most) && int64_t(value->get<uint64_t>()) >= least
           : value->get<int64_t>() >= least && value->get<int64_t>() <= most);
  if (!fits) {
    throw invalid(name, fmt::format("'{}' must be an integer from {} to {}", name, least, most));
  }
  return value->get<int64_t>();
}

std::optional<double> BodyFields::number(const std::string& name, double least, double most) {
  const nlohmann::json* value = take(name);
  if (value == nullptr) return {};
  if (!value->is_number() || !(value->get<double>() >= least && value->get<double>() <= most)) {
    throw invalid(name, fmt::format("'{}' must be a number from {} to {}", name, least, most));
  }
  return value->get<double>();
}

bool BodyFields::flag(const std::string& name, bool otherwise) {
  const nlohmann::json* value = take(name);
  if (value == nullptr) return otherwise;
  if (!value->is_boolean()) throw invalid(name, fmt::format("'{}' must be true or false", name));
  return value->get<bool>();
}

std::optional<std::string> BodyFields::text(const std::string& name) {
  const nlohmann::json* value = take(name);
  if (value == nullptr) return {};
  if (!value->is_string()) throw invalid(name, fmt::format("'{}' must be a string", name));
  return value->get<std::string>();
}

std::vector<std::string> BodyFields::texts(const std::string& name, size_t most) {
  const nlohmann::json* value = take(name);
  if (value == nullptr) return {};
  if (value->is_string()) return {value->get<std::string>()};
  const bool fits = value->is_array() && value->size() <= most &&
                    std::all_of(value->begin(), value->end(),
                                [](const nlohmann::json& one) { return one.is_string(); });
  if (!fits) {
    throw invalid(name,
                  fmt::format("'{}' must be a string, or a list of up to {} strings", name, most));
  }
  return value->get<std::vector<std::string>>();
}

std::vector<int32_t> BodyFields::ids(const std::string& name, size_t most, int64_t vocab_size) {
  const nlohmann::json* value = take(name);
  if (value == nullptr) return {};
  const bool fits = value->is_array() && value->size() <= most &&
                    std::all_of(value->begin(), value->end(),
                                [&](const nlohmann::json& one) { return is_id(one, vocab_size); });
  if (!fits) {
    throw invalid(name, fmt::format("'{}' must be a list of up to {} token ids below {}", name,
                                    most, vocab_size));
  }
  return value->get<std::vector<int32_t>>();
}

void BodyFields::ignore(std::initializer_list<const char*> names) {
  known_.insert(names.begin(), names.end());
}

void BodyFields::only(const std::string& name, const nlohmann::json& neutral) {
  const nlohmann::json* value = take(name);
  if (value == nullptr || *value == neutral || value->empty()) return;
  throw invalid(name, fmt::format("'{}' is not supported: leave it out", name),
                "unsupported_parameter");
}

void BodyFields::refuse_others() const {
  for (const auto& [name, value] : body_.items()) {
    if (known_.contains(name)) continue;
    throw invalid(name, fmt::format("unknown parameter '{}': leave it out", name),
                  "unknown_parameter");
  }
}

}  // namespace elastron::serving
