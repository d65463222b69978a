// Errors of the interface, in OpenAI's shape: {"error": {message, type, param, code}}.
#pragma once
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

namespace elastron::serving {

struct ApiError : std::runtime_error {
  // status: HTTP. `param`: the field that is wrong, empty where it is none.
  ApiError(int http_status, std::string error_type, const std::string& message,
           std::string field = {}, std::string error_code = {})
      : std::runtime_error(message),
        status(http_status),
        type(std::move(error_type)),
        param(std::move(field)),
        code(std::move(error_code)) {}
  int status;
  std::string type, param, code;
};

// 400, for a field of the request.
inline ApiError invalid(const std::string& param, const std::string& message,
                        const std::string& code = {}) {
  return {400, "invalid_request_error", message, param, code};
}

inline nlohmann::json error_body(const ApiError& e) {
  const auto or_null = [](const std::string& s) {
    return s.empty() ? nlohmann::json() : nlohmann::json(s);
  };
  return {{"error",
           {{"message", e.what()},
            {"type", e.type},
            {"param", or_null(e.param)},
            {"code", or_null(e.code)}}}};
}

}  // namespace elastron::serving
