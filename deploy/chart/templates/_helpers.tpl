{{- define "fastproxy.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "fastproxy.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "fastproxy.name" . -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "fastproxy.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "fastproxy.account" -}}
{{- default (include "fastproxy.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{/* They never change: a Deployment's selector cannot. */}}
{{- define "fastproxy.selector" -}}
app.kubernetes.io/name: {{ include "fastproxy.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "fastproxy.labels" -}}
{{ include "fastproxy.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "fastproxy.metadata" -}}
name: {{ include "fastproxy.fullname" . }}
namespace: {{ include "fastproxy.namespace" . }}
labels:
  {{- include "fastproxy.labels" . | nindent 2 }}
{{- end -}}

{{- define "fastproxy.image" -}}
{{- $image := .Values.image -}}
{{- $name := ternary $image.repository (printf "%s/%s" $image.registry $image.repository) (empty $image.registry) -}}
{{- ternary (printf "%s:%s" $name (default .Chart.AppVersion $image.tag)) (printf "%s@%s" $name $image.digest) (empty $image.digest) -}}
{{- end -}}

{{/* The namespaces to serve; none means all. */}}
{{- define "fastproxy.namespaces" -}}
{{- $named := .Values.providers.kubernetesIngress.namespaces -}}
{{- if and .Values.rbac.namespaced (empty $named) -}}
{{- $named = list (include "fastproxy.namespace" .) -}}
{{- end -}}
{{- toJson $named -}}
{{- end -}}

{{/* The lease's name, as `lease_name` in controller/report/writer.py makes it. */}}
{{- define "fastproxy.lease" -}}
{{- $suffix := regexReplaceAll "[^a-z0-9-]+" (lower .Values.providers.kubernetesIngress.ingressClass) "-" | trimAll "-" -}}
{{- ternary "fastproxy" (printf "fastproxy-%s" $suffix) (empty $suffix) | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Helm reads every number of the values as a float: make whole ones of a map, in place, what they were. */}}
{{- define "fastproxy.whole" -}}
{{- $map := . -}}
{{- range $key, $value := $map -}}
{{- if and (kindIs "float64" $value) (eq (floor $value) $value) -}}
{{- $_ := set $map $key (int64 $value) -}}
{{- else if kindIs "map" $value -}}
{{- include "fastproxy.whole" $value -}}
{{- else if kindIs "slice" $value -}}
{{- $items := list -}}
{{- range $value -}}
{{- $one := dict "it" . -}}
{{- include "fastproxy.whole" $one -}}
{{- $items = append $items $one.it -}}
{{- end -}}
{{- $_ := set $map $key $items -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The settings as a file. */}}
{{- define "fastproxy.config" -}}
{{- if .Values.config -}}
{{- .Values.config -}}
{{- else -}}
{{- $settings := deepCopy .Values.settings -}}
{{- $points := deepCopy (default dict $settings.entryPoints) -}}
{{- range $name, $port := .Values.ports -}}
{{- $made := dict "address" (printf ":%v" $port.port) -}}
{{- if $port.tls -}}{{- $_ := set $made "tls" dict -}}{{- end -}}
{{- $_ := set $points $name (merge (deepCopy (default dict (get $points $name))) $made) -}}
{{- end -}}
{{- $_ := set $settings "entryPoints" $points -}}
{{- $given := .Values.providers.kubernetesIngress -}}
{{- $kubernetes := deepCopy (default dict $settings.kubernetes) -}}
{{- $namespaces := include "fastproxy.namespaces" . | fromJsonArray -}}
{{- if $namespaces -}}{{- $_ := set $kubernetes "namespaces" $namespaces -}}{{- end -}}
{{- with $given.labelSelector -}}{{- $_ := set $kubernetes "labelSelector" . -}}{{- end -}}
{{- with $given.ingressClass -}}{{- $_ := set $kubernetes "ingressClass" . -}}{{- end -}}
{{- if and $given.publishedService.enabled (or .Values.service.enabled $given.publishedService.pathOverride) -}}
{{- $service := printf "%s/%s" (include "fastproxy.namespace" .) (include "fastproxy.fullname" .) -}}
{{- $_ := set $kubernetes "ingressEndpoint" (dict "publishedService" (default $service $given.publishedService.pathOverride)) -}}
{{- end -}}
{{- $_ := set $settings "kubernetes" $kubernetes -}}
{{- if ne .Values.log.level "INFO" -}}{{- $_ := set $settings "logLevel" .Values.log.level -}}{{- end -}}
{{- if ne .Values.log.format "common" -}}{{- $_ := set $settings "traefikLog" (dict "format" .Values.log.format) -}}{{- end -}}
{{- if .Values.accessLog.enabled -}}
{{- $_ := set $settings "accessLog" (merge (deepCopy (default dict $settings.accessLog)) (dict "format" .Values.accessLog.format)) -}}
{{- end -}}
{{- if .Values.metrics.prometheus.enabled -}}
{{- $metrics := deepCopy (default dict $settings.metrics) -}}
{{- $_ := set $settings "metrics" (merge $metrics (dict "prometheus" dict)) -}}
{{- end -}}
{{- if .Values.api.dashboard -}}{{- $_ := set $settings "api" (default dict $settings.api) -}}{{- end -}}
{{- include "fastproxy.whole" $settings -}}
{{- toToml $settings -}}
{{- end -}}
{{- end -}}

{{/* Seconds of a duration as 10, "10s", "1m30s". */}}
{{- define "fastproxy.seconds" -}}
{{- $text := toString . -}}
{{- if regexMatch "^[0-9]+$" $text -}}
{{- $text -}}
{{- else -}}
{{- $sum := 0 -}}
{{- range regexFindAll "[0-9]+[hms]" $text -1 -}}
{{- $factor := get (dict "h" 3600 "m" 60 "s" 1) (trimAll "0123456789" .) -}}
{{- $sum = add $sum (mul (regexFind "[0-9]+" . | int) $factor) -}}
{{- end -}}
{{- $sum -}}
{{- end -}}
{{- end -}}

{{- define "fastproxy.grace" -}}
{{- if ne .Values.deployment.terminationGracePeriodSeconds nil -}}
{{- .Values.deployment.terminationGracePeriodSeconds -}}
{{- else -}}
{{- $life := default dict .Values.settings.lifeCycle -}}
{{- add (include "fastproxy.seconds" (default "0s" $life.requestAcceptGraceTimeout)) (include "fastproxy.seconds" (default "10s" $life.graceTimeOut)) 15 -}}
{{- end -}}
{{- end -}}

{{- define "fastproxy.apiRule" -}}
- apiGroups: [""]
  # Endpoints only where the cluster has no EndpointSlices.
  resources: [services, secrets, endpoints]
  verbs: [get, list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
- apiGroups: [networking.k8s.io]
  resources: {{ . }}
  verbs: [get, list, watch]
- apiGroups: [networking.k8s.io]
  resources: [ingresses/status]
  verbs: [update, patch]
- apiGroups: [""]
  resources: [events]
  # get: a finding that is seen again raises the count of its event.
  verbs: [get, create, patch]
{{- end -}}
