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
{{- range $key, $value := .Values.settings }}
{{- if not (kindIs "invalid" $value) }}
{{ $key }} = {{ if kindIs "float64" $value }}{{ if eq (floor $value) $value }}{{ printf "%.0f" $value }}{{ else }}{{ $value }}{{ end }}{{ else }}{{ toJson $value }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
