// The fields of a request's body, each with its type and range; what is not asked for is unknown, and an
// error.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "serving/api_error.h"

namespace elastron::serving {

// Whether it is one of the ids below `vocab_size`.
bool is_id(const nlohmann::json& value, int64_t vocab_size);

class BodyFields {
 public:
  // Throws ApiError where `body` is no object. It must outlive this.
  explicit BodyFields(const nlohmann::json& body);

  // Null and absent are the same, as in OpenAI's interface. All throw ApiError naming the field.
  const nlohmann::json* take(const std::string& name);
  std::optional<int64_t> integer(const std::string& name, int64_t least, int64_t most);
  std::optional<double> number(const std::string& name, double least, double most);
  bool flag(const std::string& name, bool otherwise = false);
  std::optional<std::string> text(const std::string& name);
  // One text, or a list of up to `most`.
  std::vector<std::string> texts(const std::string& name, size_t most);
  std::vector<int32_t> ids(const std::string& name, size_t most, int64_t vocab_size);
  // Known, and without meaning here.
  void ignore(std::initializer_list<const char*> names);
  // Of OpenAI's interface and not of this server: anything but null and `neutral` is an error.
  void only(const std::string& name, const nlohmann::json& neutral);
  // Throws ApiError for the first field that nobody took.
  void refuse_others() const;

 private:
  const nlohmann::json& body_;
  std::set<std::string> known_;
};

}  // namespace elastron::serving
