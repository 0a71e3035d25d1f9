{{- define "striate.name" -}}
{{- if contains "striate" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-striate{{ end }}
{{- end }}

{{- define "striate.selector" -}}
app.kubernetes.io/name: striate
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "striate.labels" -}}
{{ include "striate.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "striate.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "striate.name" .) }}
{{- end }}

{{- /* The settings as TOML; whole numbers are written as such. */ -}}
{{- define "striate.settings" -}}
{{- $elsewhere := dict "port" "the chart's own" "host" "the image's own" "cache" "the chart's own" "feedback" "feedbackClaim" "keys_file" "keysSecret" "predict_keys" "keysSecret" "feedback_keys" "keysSecret" "admin_keys" "keysSecret" }}
{{- range $key, $value := .Values.settings }}
{{- if hasKey $elsewhere $key }}
{{- fail (printf "settings.%s is not taken here: that is %s" $key (get $elsewhere $key)) }}
{{- end }}
{{- if not (kindIs "invalid" $value) }}
{{ $key }} = {{ if kindIs "float64" $value }}{{ if eq (floor $value) $value }}{{ printf "%.0f" $value }}{{ else }}{{ $value }}{{ end }}{{ else }}{{ toJson $value }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
